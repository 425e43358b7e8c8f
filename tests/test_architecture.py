"""The laws of the packages hold, and each of them can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import architecture as law
from tests.support.architecture import Module, modules

Law = Callable[[Module], list[str]]

MODULES = modules()
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="module")
def trees() -> Iterator[None]:
    """Those of the package, until the last of these tests."""
    with law.without_garbage():
        yield
    MODULES.clear()


def broken(rule: Law) -> list[str]:
    return [complaint for module in MODULES for complaint in rule(module)]


def test_packages_import_only_packages_of_lower_layers() -> None:
    assert broken(law.imports_go_down) == []


def test_the_documentation_shows_every_package_in_its_layer() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (`.+?) \|", page, re.MULTILINE)
    layers: list[set[str]] = [set() for _ in range(max(int(number) for number, _ in rows))]
    for number, packages in rows:
        layers[int(number) - 1] |= set(re.findall(r"`(\w+)(?:/|\.py)`", packages))
    assert layers == list(map(set, law.LAYERS))


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert law.cycles(MODULES) == []


def test_no_two_classes_have_one_name() -> None:
    assert law.namesakes(MODULES) == []


def test_an_alias_names_one_thing_and_a_thing_has_one_alias() -> None:
    tests = [module for module in modules(ROOT / "tests") if " as " in module.source]
    assert law.unclear_aliases([*MODULES, *tests]) == []


def test_a_field_is_declared_once() -> None:
    assert law.repeated_declarations(MODULES) == []


def test_nobody_inside_imports_the_package_root() -> None:
    assert broken(law.root_is_not_imported) == []


def test_a_folder_of_the_engine_imports_only_those_below_it() -> None:
    assert broken(law.engine_folders_import_downwards) == []
    folders = {
        module.path.split("/")[1] for module in MODULES if module.path.count("/") > 1 and module.package == "engine"
    }
    assert folders == set(law.ENGINE_FOLDERS)


def test_only_the_engine_imports_skypilot_or_a_clouds_library() -> None:
    assert broken(law.clouds_are_the_engines) == []


def test_only_the_sandbox_imports_its_emulator() -> None:
    assert broken(law.emulators_are_the_sandboxs) == []


def test_the_sandbox_loads_its_emulator_only_when_it_is_used() -> None:
    assert broken(law.the_sandbox_loads_its_emulator_late) == []


def test_only_github_imports_what_talks_to_github() -> None:
    assert broken(law.github_is_githubs) == []


def test_only_one_package_asks_the_model_hub() -> None:
    assert broken(law.the_hub_is_asked_in_one_package) == []


def test_only_entry_points_and_wiring_read_the_environment() -> None:
    assert broken(law.the_environment_is_read_at_the_entry_points) == []


def test_only_action_and_cli_handle_signals() -> None:
    assert broken(law.signals_are_handled_at_the_entry_points) == []


def test_only_action_and_cli_end_the_program() -> None:
    assert broken(law.the_entry_points_alone_exit) == []


def test_only_the_lease_takes_a_cluster_down() -> None:
    assert broken(law.the_lease_alone_takes_down) == []


def test_only_the_report_writes_markdown() -> None:
    assert broken(law.the_report_alone_writes_markdown) == []


def test_the_labels_and_the_name_of_a_lease_are_written_in_one_place() -> None:
    assert broken(law.lease_names_are_written_in_one_place) == []


def test_the_variables_of_the_actions_inputs_are_read_in_one_place() -> None:
    assert broken(law.action_variables_are_read_in_one_place) == []


def test_values_fit_a_glance() -> None:
    assert broken(law.values_fit_a_glance) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert broken(law.names_say_something) == []


def test_every_module_says_what_it_is() -> None:
    assert broken(law.modules_say_what_they_are) == []


def test_values_are_frozen_and_their_fields_named() -> None:
    assert broken(law.values_are_frozen_and_named) == []


def test_files_and_functions_fit_a_glance() -> None:
    assert broken(law.files_and_functions_fit_a_glance) == []


def test_only_one_file_runs_git() -> None:
    assert broken(law.git_runs_in_one_file) == []


def test_only_the_backoff_and_the_clock_sleep() -> None:
    assert broken(law.the_clock_alone_sleeps) == []


def test_only_the_backoff_lets_pauses_grow() -> None:
    assert broken(law.pauses_grow_in_one_place) == []


def test_no_class_has_more_than_fifteen_public_methods() -> None:
    assert broken(law.classes_have_one_job) == []


def test_help_and_plan_never_load_skypilot_or_a_clouds_library() -> None:
    """Whatever is loaded when every module but the separate programs and what runs inside them is."""
    own = [module.name for module in MODULES if not module.own_program and not _inside_the_worker(module)]
    heavy = sorted(law.CLOUD_LIBRARIES | law.EMULATOR_LIBRARIES | law.HUB_LIBRARIES)
    program = (
        f"import importlib, sys\nfor name in {own!r}: importlib.import_module(name)\n"
        f"print(*sorted({{*sys.modules}} & {{*{heavy!r}}}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert result.stderr == ""
    assert set(result.stdout.split()) - {"google"} == set()  # google is a namespace that any wheel may fill


def _inside_the_worker(module: Module) -> bool:
    """Engine modules that name SkyPilot at their top: only the worker, a process of its own, may import them."""
    return module.package == "engine" and any(i.top == "sky" and not i.lazy and not i.typing for i in module.imports)


def test_what_names_skypilot_at_its_top_is_loaded_by_the_worker_alone() -> None:
    inside = {module.name for module in MODULES if _inside_the_worker(module)}
    for module in MODULES:
        if not module.own_program and module.name not in inside:
            assert not inside & {item.name for item in module.imports}, module.path


BREAKS: Sequence[tuple[Law, str, str]] = [
    (law.imports_go_down, "model/plan.py", "from cvl_ci.result import units"),
    (law.imports_go_down, "github/x.py", "from cvl_ci.local.clock import SystemClock"),
    (law.imports_go_down, "commands/run/run.py", "def f():\n    import cvl_ci.engine.machines"),
    (law.imports_go_down, "commands/run/run.py", "from cvl_ci.wiring import wire"),
    (law.imports_go_down, "runner.py", "from cvl_ci.cli.main import main"),
    (law.imports_go_down, "action/main.py", "def f():\n    from cvl_ci.cli.main import main"),
    (law.imports_go_down, "cli/main.py", "from cvl_ci.runner import SkyPilotRunner"),
    (law.imports_go_down, "attic/x.py", ""),
    (law.imports_go_down, "lease.py", "from cvl_ci.attic import x"),
    (law.root_is_not_imported, "cli.py", "import cvl_ci"),
    (law.root_is_not_imported, "cli.py", "from cvl_ci import SkyPilotRunner"),
    (law.root_is_not_imported, "engine/x.py", "from . import y"),
    (law.engine_folders_import_downwards, "engine/task/x.py", "def f():\n    from cvl_ci.engine.fetch import tarball"),
    (law.engine_folders_import_downwards, "engine/server/x.py", "import cvl_ci.engine.worker.worker"),
    (law.clouds_are_the_engines, "commands/run/run.py", "import sky.core"),
    (law.clouds_are_the_engines, "sandbox/x.py", "def f():\n    import sky"),
    (law.clouds_are_the_engines, "local/x.py", "def f():\n    from botocore.config import Config"),
    (law.emulators_are_the_sandboxs, "engine/x.py", "import docker"),
    (law.the_sandbox_loads_its_emulator_late, "sandbox/network.py", "import docker"),
    (law.the_sandbox_loads_its_emulator_late, "sandbox/network.py", "if True:\n    from moto import server"),
    (law.github_is_githubs, "engine/x.py", "import requests"),
    (law.github_is_githubs, "cli.py", "from github import Github"),
    (law.the_hub_is_asked_in_one_package, "commands/models/x.py", "def f():\n    import huggingface_hub"),
    (law.the_hub_is_asked_in_one_package, "clouds/x.py", "def f():\n    import httpx"),
    (law.the_hub_is_asked_in_one_package, "hub/client.py", "from huggingface_hub import HfApi"),
    (law.the_environment_is_read_at_the_entry_points, "engine/x.py", "import os\nhome = os.environ['HOME']"),
    (law.the_environment_is_read_at_the_entry_points, "local/x.py", "from os import environ as e\nhome = e['HOME']"),
    (law.the_environment_is_read_at_the_entry_points, "inputs/x.py", "import os\nhome = os.getenv('HOME')"),
    (law.the_environment_is_read_at_the_entry_points, "local/x.py", "from pathlib import Path\nhome = Path.home()"),
    (law.signals_are_handled_at_the_entry_points, "runner.py", "import signal\nsignal.signal(signal.SIGINT, f)"),
    (law.signals_are_handled_at_the_entry_points, "lease.py", "from signal import set_wakeup_fd"),
    (law.signals_are_handled_at_the_entry_points, "lease.py", "import signal as s\ns.pthread_sigmask(1, [])"),
    (law.the_entry_points_alone_exit, "runner.py", "import sys\nsys.exit(1)"),
    (law.the_entry_points_alone_exit, "lease.py", "raise SystemExit(1)"),
    (law.the_entry_points_alone_exit, "engine/x.py", "from os import _exit\n_exit(1)"),
    (law.the_lease_alone_takes_down, "commands/run/run.py", "cloud.machines.down(name)"),
    (law.the_lease_alone_takes_down, "wiring/x.py", "Engine().down('x')"),
    (law.the_lease_alone_takes_down, "commands/reap/reap.py", "self._inventory.remove(found)"),
    (law.the_report_alone_writes_markdown, "result/summary.py", "x = f'<details>{y}</details>'"),
    (law.the_report_alone_writes_markdown, "github/x.py", "x = '| a | b |\\n|---|---|'"),
    (law.the_report_alone_writes_markdown, "github/x.py", "x = '## Title'"),
    (law.the_report_alone_writes_markdown, "cli.py", "x = '```'"),
    (law.lease_names_are_written_in_one_place, "clouds/aws/x.py", "LABEL = 'cvl-ci-lease'"),
    (law.lease_names_are_written_in_one_place, "clouds/aws/x.py", "LABELS = 'tag:cvl-ci-*'"),
    (law.lease_names_are_written_in_one_place, "clouds/gcp/x.py", "x = re.compile(r'^cvl-[a-z0-9]+')"),
    (law.lease_names_are_written_in_one_place, "local/x.py", "x = r'lease cvl-\\d+'"),
    (law.lease_names_are_written_in_one_place, "local/x.py", "name.startswith('cvl-')"),
    (law.lease_names_are_written_in_one_place, "lease.py", "name = f'cvl-{run}-{digest}'"),
    (law.action_variables_are_read_in_one_place, "wiring/x.py", "token = environ.get('INPUT_GITHUB_TOKEN', '')"),
    (law.action_variables_are_read_in_one_place, "inputs/x.py", "text = environ[f'INPUT_{name.upper()}']"),
    (law.action_variables_are_read_in_one_place, "action/x.py", "variable.startswith('INPUT_')"),
    (law.names_say_something, "engine/utils.py", ""),
    (law.names_say_something, "engine/base_engine.py", ""),
    (law.names_say_something, "common/x.py", ""),
    (law.modules_say_what_they_are, "engine/x.py", "import os"),
    (law.modules_say_what_they_are, "engine/x.py", "''"),
    (law.values_are_frozen_and_named, "result/x.py", "@dataclass\nclass A: ..."),
    (law.values_are_frozen_and_named, "inputs/x.py", "@dataclass(frozen=True)\nclass A: ..."),
    (law.values_are_frozen_and_named, "ports/x.py", "@dataclasses.dataclass(kw_only=True, frozen=False)\nclass A: ..."),
    (law.files_and_functions_fit_a_glance, "cli.py", "#\n" * 351),
    (law.files_and_functions_fit_a_glance, "cli.py", "def main():\n" + "    pass\n" * 60),
    (law.git_runs_in_one_file, "local/staging.py", "subprocess.run(['git', 'status'])"),
    (law.git_runs_in_one_file, "engine/x.py", "git = '/usr/bin/git'"),
    (law.the_clock_alone_sleeps, "engine/worker/sky_local.py", "import time\nwhile True:\n    time.sleep(2)"),
    (law.the_clock_alone_sleeps, "sandbox/x.py", "def f():\n    from time import monotonic, sleep"),
    (law.the_clock_alone_sleeps, "cli/x.py", "wait(pause=time.sleep)"),
    (law.pauses_grow_in_one_place, "clouds/http.py", "sleep(0.5 * 2.0**attempt)"),
    (law.pauses_grow_in_one_place, "github/x.py", "seconds = min(growth ** self.tries, 60)"),
    (law.values_fit_a_glance, "local/x.py", "@dataclass\nclass A:" + "".join(f"\n    f{n}: int" for n in range(13))),
    (law.values_fit_a_glance, "model/plan.py", "@dataclass\nclass RunPlan:" + "\n    f: int" * 30),
    (law.classes_have_one_job, "local/x.py", "class A:" + "".join(f"\n    def f{n}(self): ..." for n in range(16))),
]

KEEPS: Sequence[tuple[Law, str, str]] = [
    (law.imports_go_down, "commands/run/run.py", "from cvl_ci.lease import Lease\nfrom cvl_ci.errors import CvlError"),
    (law.imports_go_down, "engine/x.py", "from cvl_ci.engine.y import z"),
    (law.imports_go_down, "__init__.py", "from cvl_ci.runner import SkyPilotRunner"),
    (law.root_is_not_imported, "cli.py", "from cvl_ci import wiring"),
    (law.the_lease_alone_takes_down, "cli.py", "from cvl_ci.commands.reap import down as x\nx.down(names)"),
    (law.clouds_are_the_engines, "engine/x.py", "import sky, boto3"),
    (law.the_hub_is_asked_in_one_package, "hub/x.py", "def f():\n    import httpx"),
    (law.clouds_are_the_engines, "sandbox/x.py", "def f():\n    import boto3"),
    (law.the_sandbox_loads_its_emulator_late, "sandbox/emulator/main.py", "import moto"),
    (law.the_environment_is_read_at_the_entry_points, "cli.py", "import os\nos.environ"),
    (law.the_environment_is_read_at_the_entry_points, "engine/worker/worker.py", "import os\nos.environ"),
    (law.signals_are_handled_at_the_entry_points, "engine/x.py", "import os, signal\nos.kill(1, signal.SIGKILL)"),
    (law.the_entry_points_alone_exit, "sandbox/emulator/main.py", "import sys\nsys.exit(0)"),
    (law.the_lease_alone_takes_down, "commands/run/run.py", "files.remove(x)\nlease.release()\nsandbox.down()"),
    (law.git_runs_in_one_file, "local/git/git.py", "git = shutil.which('git')"),
    (law.git_runs_in_one_file, "github/x.py", "url = f'{server}/{repository}.git'"),
    (law.the_clock_alone_sleeps, "lease.py", "self._clock.sleep(5)\ntime.monotonic()"),
    (law.the_clock_alone_sleeps, "engine/machine/x.py", "time.sleep(1)"),
    (law.pauses_grow_in_one_place, "backoff.py", "x = first * growth**attempt"),
    (law.values_fit_a_glance, "local/x.py", "@dataclass\nclass A:" + "".join(f"\n    f{n}: int" for n in range(12))),
    (law.classes_have_one_job, "local/x.py", "class A:" + "".join(f"\n    def _f{n}(self): ..." for n in range(99))),
    (law.action_variables_are_read_in_one_place, "x.py", "x = action_variables.value(environ, 'github_token')"),
    (law.action_variables_are_read_in_one_place, "cli.py", "x = 'MAX_INPUT_BYTES'"),
    (law.lease_names_are_written_in_one_place, "x.py", "x = 'cvl-ci', 'cvl-ci down', f'cvl-ci-{run}', 'cvl-outputs'"),
    (law.the_report_alone_writes_markdown, "cli.py", '"""## A docstring\n```\n"""\nx = "a | b"'),
]


@pytest.mark.parametrize(("rule", "path", "source"), BREAKS)
def test_every_law_sees_what_breaks_it(rule: Law, path: str, source: str) -> None:
    assert rule(Module(path, source))


@pytest.mark.parametrize(("rule", "path", "source"), KEEPS)
def test_no_law_complains_of_what_keeps_it(rule: Law, path: str, source: str) -> None:
    assert rule(Module(path, source)) == []


def test_the_law_against_rings_sees_them() -> None:
    ring = [
        Module("engine/a.py", "from cvl_ci.engine import b"),
        Module("engine/b.py", "def f():\n    from cvl_ci.engine.c import x"),
        Module("engine/c.py", "import cvl_ci.engine.a"),
        Module("engine/d.py", "if TYPE_CHECKING:\n    from cvl_ci.engine import d, a"),
    ]
    assert law.cycles(ring) == ["cvl_ci.engine.a → cvl_ci.engine.b → cvl_ci.engine.c → cvl_ci.engine.a"]


def test_the_law_against_namesakes_sees_them() -> None:
    twins = [Module("model/a.py", "class Kind: ..."), Module("engine/b.py", "class Kind: ...\nclass _Kind: ...")]
    assert law.namesakes([*twins, Module("engine/c.py", "class _Kind: ...")]) == ["Kind: model/a.py, engine/b.py"]


def test_the_law_against_unclear_aliases_sees_them() -> None:
    importers = [
        Module("action/a.py", "from cvl_ci.commands import matrix as planning"),
        Module("cli/a.py", "def f():\n    from cvl_ci.commands.plan import quote as planning"),
        Module("cli/b.py", "from cvl_ci.commands import matrix as matrices\nfrom cvl_ci.commands.plan import month"),
        Module("cli/c.py", "import cvl_ci.result.month as month\nfrom numpy import month as matrices"),
    ]
    assert law.unclear_aliases(importers) == [
        "cvl_ci.commands.matrix: matrices, planning",
        "month: cvl_ci.commands.plan.month, cvl_ci.result.month",
        "planning: cvl_ci.commands.matrix, cvl_ci.commands.plan.quote",
    ]
    assert law.unclear_aliases(importers[2:3]) == []


GROUP = """class FileInputs:
    outputs: tuple[str, ...] = option(globs, help="Files to fetch.")
    files: tuple[str, ...] = option(globs, help="Files to copy.")
    include: str = option(text, help="More files.")
"""
DECLARED_TWICE: Sequence[tuple[str, str]] = [
    ("inputs/b.py", 'class StepInputs:\n    outputs: str = option(text, help="A folder.")'),
    ("inputs/b.py", 'class StepInputs:\n    results: str = inputs.option(text, help="Files to fetch.")'),
    ("cli/b.py", 'class OwnInputs:\n    results: str = option(text, help="A folder.")'),
    ("inputs/command_line.py", 'run.add_argument("--outputs", help="what to fetch")'),
    ("cli/main.py", 'parser.add_argument("-r", "--results")'),
    ("sandbox/command.py", 'status.add_argument("--include", metavar="FILE")'),
    (
        "model/b.py",
        "class FilePlan:\n    outputs: tuple[str, ...]\n    files: tuple[str, ...]\n    include: str | None",
    ),
]
DECLARED_ONCE: Sequence[tuple[str, str]] = [
    ("inputs/b.py", 'class StepInputs:\n    results: str = option(text, help="A folder.")'),
    ("inputs/command_line.py", "run.add_argument(*field.flags, dest=field.name, help=explained(field))"),
    ("inputs/command_line.py", 'down.add_argument("names", nargs="*")\nparser.add_argument("--version")'),
    ("sandbox/command.py", 'kill.add_argument("--looks-running", action="store_true")'),
    ("model/b.py", "class FilePlan:\n    outputs: tuple[str, ...]\n    files: tuple[str, ...]\n    include: bool"),
]


@pytest.mark.parametrize(("path", "source"), DECLARED_TWICE)
def test_the_law_against_second_declarations_sees_them(path: str, source: str) -> None:
    assert law.repeated_declarations([Module("inputs/a.py", GROUP), Module(path, source)])


@pytest.mark.parametrize(("path", "source"), DECLARED_ONCE)
def test_the_law_against_second_declarations_leaves_others_alone(path: str, source: str) -> None:
    assert law.repeated_declarations([Module("inputs/a.py", GROUP), Module(path, source)]) == []


def test_the_modules_are_not_empty() -> None:
    assert {"errors.py", "lease.py", "model/plan.py", "model/outcome.py"} <= {module.path for module in MODULES}


def test_the_top_level_has_no_file_of_chance() -> None:
    """What a test or a try writes to the directory it runs in must not be committed."""
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {line for line in run.stdout.splitlines() if "/" not in line}
    assert files == {
        *(".dockerignore", ".gitignore", "CHANGELOG.md", "Dockerfile", "LICENSE", "README.md", "SECURITY.md"),
        *("action.yml", "entrypoint", "pyproject.toml"),
        *("requirements.action.lock", "requirements.build.lock", "requirements.lock"),
    }
