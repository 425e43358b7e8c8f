"""From words to a plan: every dialect of the field is a full task, and all that is wrong is said at once."""

from __future__ import annotations

import posixpath
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.run.steps import refuse_missing_scripts
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_environment, from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.location import Location
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import Spot
from cvl_ci.model.secret import Secret
from cvl_ci.planning import presets
from cvl_ci.planning.shell import without_an_end
from tests import golden
from tests.support.field import FIELD, plant, run_git

MESSAGES = golden.Messages(__name__)

Ask = Callable[..., RunPlan]


@pytest.fixture
def field(tmp_path: Path) -> Path:
    return plant(tmp_path / "field")


@pytest.fixture
def ask(field: Path) -> Ask:
    def asked(**given: object) -> RunPlan:
        inputs = from_keywords(given, environment={})
        return prepare(inputs, checkout=open_checkout(field), prices=CataloguePrices())

    return asked


def mistakes(ask: Ask, **given: object) -> dict[str, str]:
    with pytest.raises(RequestError) as caught:
        ask(**given)
    return {mistake.field: str(mistake) for mistake in caught.value.mistakes}


# ---- presets, as commands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "run"),
    [
        ("train", "bash train.sh"),
        ("train-small", "bash train.sh --stage one"),
        ("train_small", "bash train.sh --stage one"),
        ("train_text", "bash train.sh --epochs 3 --note 'two words'"),
        ("train_list", "bash train.sh --epochs 3"),
        ("bare_args", "bash train.sh --stage two"),
        ("serve", "bash serve.sh"),
    ],
)
def test_a_preset_builds_first_and_then_runs_its_script(ask: Ask, preset: str, run: str) -> None:
    plan = ask(example="usual", preset=preset)
    assert plan.work.setup_commands == ("bash build.sh",)
    assert plan.work.run_commands == (run,)
    assert plan.work.directory == "examples/vision/usual"
    assert plan.variables.env["CVL_IMAGE"] == "usual_img"


def test_build_alone_builds_once(ask: Ask) -> None:
    plan = ask(example="usual", preset="build")
    assert plan.work.commands == ("bash build.sh",)


def test_further_arguments_follow_the_presets_own(ask: Ask) -> None:
    plan = ask(example="usual", preset="train_list", args=["--lr", "a b"])
    assert plan.work.run_commands == ("bash train.sh --epochs 3 --lr 'a b'",)


def test_a_presets_environment_is_the_jobs_and_the_users_wins(ask: Ask) -> None:
    assert ask(example="usual", preset="train_env").variables.env == {
        "CVL_IMAGE": "usual_img",
        "PIPELINE": "hlb",
        "FAST": "true",
    }
    assert ask(example="usual", preset="serve").variables.env["PORT"] == "8050"
    plan = ask(example="usual", preset="serve", env={"PORT": 1, "CVL_IMAGE": "mine"})
    assert plan.variables.env == {"PORT": "1", "CVL_IMAGE": "mine"}


@pytest.mark.parametrize(
    ("name", "description", "warned"),
    [
        ("predict", "Run a prediction against a local server", False),
        ("predict-demo", "Predict", False),
        ("benchmark", "Start the server and measure it", False),
        ("demo", "Show it", True),
        ("web", "Launch the web demo server", True),
    ],
)
def test_only_a_preset_without_an_end_is_said_to_have_none(name: str, description: str, warned: bool) -> None:
    preset = presets.read(name, {"script": "x.sh", "description": description}, files={"x.sh"})
    assert bool(without_an_end(preset)) == warned


def test_a_preset_that_never_ends_is_warned_of(ask: Ask) -> None:
    for preset in ("serve", "web"):
        assert any("never ends" in warning for warning in ask(example="usual", preset=preset).warnings)
    assert ask(example="usual", preset="train").warnings == ()


def test_a_list_of_names_and_values_that_are_lists_run_their_scripts(ask: Ask) -> None:
    for example in ("listed", "list-values"):
        assert ask(example=example, preset="predict").work.commands == ("bash build.sh", "bash predict.sh")


def test_without_presets_the_script_that_is_there_is_the_preset(ask: Ask) -> None:
    plan = ask(example="undeclared")
    assert plan.work.preset == "run"
    assert plan.work.setup_commands == ()
    assert plan.variables.env == {"CVL_IMAGE": "undeclared-inference:latest"}


def test_a_script_that_wants_a_terminal_gets_one(ask: Ask) -> None:
    assert ask(example="undeclared").work.run_commands == ("script -qec 'bash run.sh' /dev/null",)


def test_a_python_script_runs_in_the_image_that_build_makes(ask: Ask) -> None:
    (run,) = ask(example="usual", preset="batch", args=["--n", "1"], secrets={"HF_TOKEN": "x"}).work.run_commands
    assert run.startswith("docker run --rm --gpus all ")
    assert "--env HF_TOKEN " in run
    assert run.endswith("--entrypoint bash usual_img -c 'python3 batch.py --n 1'")
    assert 'src="$(cd ../../.. && pwd)",dst=/cvlization_repo' in run


def test_a_command_runs_in_the_image_and_a_lone_script_on_the_machine(ask: Ask) -> None:
    plan = ask(example="commands", preset="predict")
    assert plan.work.setup_commands == ("bash build.sh",)
    assert "built -c 'python predict.py --fast'" in plan.work.run_commands[0]
    assert ask(example="commands", preset="build").work.run_commands == ("bash build.sh",)


def test_a_script_beside_a_command_is_what_runs(ask: Ask) -> None:
    assert ask(example="commands", preset="both").work.run_commands == ("bash both.sh",)


def test_what_an_example_wants_fetched_is_fetched_before_it_is_built(ask: Ask) -> None:
    plan = ask(example="fetching", preset="predict")
    model, archive, weights, build = plan.work.setup_commands
    assert "https://huggingface.co/owner/repo/resolve/main/sub/model.bin" in model
    assert '-o "$HOME"/.cache/cvlization/models/m/model.bin.part' in model
    assert "${HF_TOKEN:+" in model
    assert "-o a.zip.part 'https://example.com/a b.zip'" in archive
    assert "HF_TOKEN" not in archive
    assert "id=abc-DEF_1&" in weights
    assert build == "bash build.sh"
    assert len(ask(example="fetching", preset="build").work.setup_commands) == 3


def test_what_is_there_is_not_fetched_again(ask: Ask, tmp_path: Path) -> None:
    """Run for real, with a `curl` that only writes down what it was asked for."""
    (tmp_path / "bin").mkdir()
    curl = tmp_path / "bin" / "curl"
    curl.write_text('#!/bin/sh\necho "$@" >> "$HOME/asked"\nwhile [ "$1" != -o ]; do shift; done\necho x > "$2"\n')
    curl.chmod(0o755)
    setup = ask(example="fetching", preset="predict").work.setup_commands[:-1]
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["bash", "-ec", "\n".join(setup)], cwd=tmp_path, env=environment, check=True)
    assert len((tmp_path / "asked").read_text().splitlines()) == 3
    assert (tmp_path / ".cache/cvlization/models/m/model.bin").read_text() == "x\n"
    assert (tmp_path / "a.zip").exists()


def test_a_preset_whose_build_cannot_be_run_says_which(ask: Ask) -> None:
    MESSAGES.check("a build that cannot run", mistakes(ask, example="unbuilt", preset="train")["preset"])


def test_a_preset_without_docker_builds_nothing(ask: Ask) -> None:
    plan = ask(example="plain")
    assert (plan.work.setup_commands, plan.work.run_commands, dict(plan.variables.env)) == ((), ("bash train.sh",), {})


def test_inside_an_image_the_command_is_meant_and_nothing_is_built(ask: Ask) -> None:
    plan = ask(example="commands", preset="both", image="ubuntu:22.04")
    assert plan.work.image == "ubuntu:22.04"
    assert (plan.work.setup_commands, plan.work.run_commands) == ((), ("python3 predict.py",))
    script = ask(example="usual", preset="train", image="ubuntu:22.04")
    assert script.work.run_commands == ("bash train.sh",)
    assert "calls docker" in script.warnings[0]


# ---- machines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "preset", "wanted"),
    [
        ("usual", "train", {"T4": 1, "L4": 1, "A10G": 1, "A10": 1}),
        ("listed", "predict", {"L4": 1, "A10G": 1, "A10": 1}),
        ("list-values", "predict", {"A100-80GB": 2, "H100": 2}),
        ("undeclared", "run", {"L4": 1, "A10G": 1, "A10": 1}),
        ("commands", "predict", {"L4": 1, "A10G": 1, "A10": 1}),
        ("plain", "train", {}),
        ("a/torch", "train", {}),
        ("b/torch", "train", {"L4": 1, "A10G": 1, "A10": 1}),
    ],
)
def test_every_dialect_gets_its_gpu(ask: Ask, example: str, preset: str, wanted: dict[str, int]) -> None:
    assert dict(ask(example=example, preset=preset).machines.needs.accelerators) == wanted


def test_what_is_said_explicitly_wins(ask: Ask) -> None:
    plan = ask(example="list-values", preset="predict", gpu="l4", cpus="2", memory=4, disk_size=300)
    assert dict(plan.machines.needs.accelerators) == {"L4": 1}
    assert (plan.machines.needs.cpus, plan.machines.needs.memory_gib, plan.machines.needs.disk_gb) == (2, 4, 300)
    assert dict(ask(example="usual", preset="train", gpu="none").machines.needs.accelerators) == {}


def test_a_type_of_machine_has_the_gpus_it_has(ask: Ask) -> None:
    plan = ask(example="usual", preset="train", instance_type="g5.12xlarge", cloud="aws")
    assert dict(plan.machines.needs.accelerators) == {"A10G": 4}
    assert plan.machines.needs.cpus is None


def test_an_example_that_says_nothing_of_a_gpu_is_warned_of(ask: Ask) -> None:
    assert "whether it needs a GPU" in ask(example="a/torch").warnings[0]
    assert ask(example="a/torch", gpu="L4").warnings == ()


# ---- files ------------------------------------------------------------------------------------------------------


def test_the_example_and_what_its_container_mounts_are_staged_where_they_are(ask: Ask) -> None:
    paths = [file.path for file in ask(example="usual", preset="train").files.staged]
    mine = [
        path for path in FIELD if path.startswith(("examples/vision/usual/", "cvlization/")) or path == "pyproject.toml"
    ]
    assert paths == sorted(mine)
    assert "examples/vision/usual/data/needed.csv" in paths


def test_every_file_of_the_plan_is_there(ask: Ask, field: Path) -> None:
    for file in ask(example="usual", preset="train").files.staged:
        assert Path(str(file.source)).read_bytes() == (field / file.path).read_bytes()
        assert file.bytes == (field / file.path).stat().st_size


def test_an_example_that_names_another_takes_it_along(ask: Ask, field: Path) -> None:
    (field / "benchmarks/plain/train.sh").write_text("bash ../../examples/vision/usual/predict.sh\n")
    paths = [file.path for file in ask(example="plain").files.staged]
    assert "examples/vision/usual/train.sh" in paths


def test_new_files_stay_behind_and_are_named(ask: Ask, field: Path) -> None:
    (field / "benchmarks/plain/notes.txt").write_text("x")
    plan = ask(example="plain")
    assert [warning for warning in plan.warnings if "notes.txt" in warning and "not tracked by git" in warning]
    assert not [file for file in plan.files.staged if file.path.endswith("notes.txt")]


def test_an_example_that_is_all_new_is_taken_as_it_is(ask: Ask, field: Path) -> None:
    new = {"example.yaml": "name: new\npresets: {train: train.sh}\n", "train.sh": "x"}
    plant(field, {f"examples/new/one/{name}": text for name, text in new.items()}, git=False)
    plan = ask(example="new")
    assert "examples/new/one/train.sh" in [file.path for file in plan.files.staged]


# ---- a command, a task ------------------------------------------------------------------------------------------


def test_a_command_runs_among_its_folders_files(ask: Ask) -> None:
    words = "python data/tiny.py --a"
    plan = ask(command=words, workdir="cvlization")
    assert (plan.title, plan.work.directory, plan.work.run_commands) == (words, ".", (words,))
    assert [file.path for file in plan.files.staged] == ["__init__.py", "data/tiny.py"]
    assert plan.machines.needs.disk_gb == 100


@pytest.mark.parametrize("command", ["python tinny.py --a", "./tinny.py", "X=1 python -u tinny.py && echo done"])
def test_a_command_of_a_file_that_does_not_go_along_is_planned_not_run(ask: Ask, command: str) -> None:
    plan = ask(command=command, workdir="cvlization/data")
    assert plan.work.missing_scripts == ("tinny.py",)
    MESSAGES.check("a plan without its file", plan.warnings[-1].replace(repr(command), "COMMAND"))
    with pytest.raises(RequestError) as refused:
        refuse_missing_scripts(plan)
    (mistake,) = refused.value.mistakes
    MESSAGES.check("a command without its file", str(mistake).replace(repr(command), "COMMAND"))
    refuse_missing_scripts(ask(command=command.replace("tinny", "tiny"), workdir="cvlization/data"))


def test_a_file_that_stays_here_is_missing_on_the_machine(ask: Ask) -> None:
    words = {"command": "python tiny.py", "workdir": "cvlization/data"}
    assert ask(**words).work.missing_scripts == ()
    assert ask(**words, exclude="*.py").work.missing_scripts == ("tiny.py",)


@pytest.mark.parametrize(
    "brings",
    [
        {"setup": "curl -O https://example.com/nope.py"},
        {"image": "own/image:1"},
        {"file_mounts": {"~/sky_workdir/nope.py": "s3://bucket/nope.py"}},
        {"mounts": "/data=s3://bucket/prefix"},
        {"reuse": "key"},
        {"command": "bash nope.py"},
    ],
)
def test_a_file_that_something_else_may_bring_is_a_warning(ask: Ask, brings: dict[str, object]) -> None:
    plan = ask(**{"command": "python nope.py", "cloud": "aws", **brings})
    assert plan.work.missing_scripts == ()
    (warning,) = [text for text in plan.warnings if "nope.py" in text]
    assert "or an earlier job must bring it" in warning


def test_the_run_of_a_task_is_checked_as_a_command_is(ask: Ask, field: Path) -> None:
    def missing(run: str, more: str = "") -> tuple[str, ...]:
        (field / "task.yaml").write_text(f"workdir: cvlization\n{more}run: |\n  {run}\n")
        return ask(task="task.yaml").work.missing_scripts

    assert missing("python nope.py") == ("nope.py",)
    assert missing("python data/tiny.py") == ()
    assert missing("python nope.py", "setup: make nope.py\n") == ()
    # SkyPilot's own task goes on after a line that fails.
    assert missing("python nope.py\n  echo done") == ()


def test_without_a_folder_a_command_has_the_one_it_is_given_in(ask: Ask) -> None:
    assert len(ask(command="ls").files.staged) == len(FIELD)


@pytest.mark.parametrize(
    ("workdir", "why"), [("/etc", "outside"), ("nowhere", "not a folder"), ("README.md", "not a folder")]
)
def test_a_folder_that_is_none_is_a_mistake(ask: Ask, workdir: str, why: str) -> None:
    assert why in mistakes(ask, command="ls", workdir=workdir)["workdir"]


def test_a_task_is_read_and_inputs_win_over_it(ask: Ask, field: Path) -> None:
    (field / "task.yaml").write_text(
        "name: mine\nworkdir: cvlization\nnum_nodes: 2\nresources: {infra: gcp, accelerators: L4:1, use_spot: true}\n"
        "envs: {A: '1', B: '2'}\nsecrets: {S: x}\nsetup: pip install x\nrun: python y.py\nfile_mounts: {/d: ./data}\n"
    )
    plan = ask(task="task.yaml")
    assert (plan.title, plan.machines.num_nodes, plan.machines.spot, plan.machines.locations) == (
        "mine",
        2,
        Spot.ALWAYS,
        (Location(cloud="gcp"),),
    )
    assert plan.work.commands == ("pip install x", "python y.py")
    assert [file.path for file in plan.files.staged] == ["__init__.py", "data/tiny.py"]
    assert plan.work.task_extra == {"file_mounts": {"/d": f"{field}/data"}}
    mine = ask(task="task.yaml", cloud="aws", num_nodes=1, gpu="T4", spot="false", env={"B": "3"}, secrets={"A": "s"})
    assert (mine.machines.num_nodes, mine.machines.spot, mine.machines.locations) == (
        1,
        Spot.NEVER,
        (Location(cloud="aws"),),
    )
    assert dict(mine.machines.needs.accelerators) == {"T4": 1}
    assert dict(mine.variables.env) == {"B": "3"}
    assert dict(mine.variables.secrets) == {"S": Secret("x"), "A": Secret("s")}
    assert ask(task="task.yaml", cloud="any").machines.locations == ()


def test_a_tasks_variables_are_filled_in_before_its_files_are_looked_for(ask: Ask, field: Path) -> None:
    (field / "task.yaml").write_text(
        "workdir: $CODE\nenvs: {DATA: 's3://bucket', CODE: null}\nsecrets: {TOKEN: x}\nrun: ls\n"
        "file_mounts: {/d: $DATA, /e: ./$CODE, /f: $TOKEN}\n"
    )
    plan = ask(task="task.yaml", env={"CODE": "cvlization"})
    assert plan.work.task_extra == {"file_mounts": {"/d": "s3://bucket", "/e": f"{field}/cvlization", "/f": "$TOKEN"}}
    assert [file.path for file in plan.files.staged] == ["__init__.py", "data/tiny.py"]
    (field / "task.yaml").write_text("run: ls\nfile_mounts: {/d: $DATA}\n")
    assert "from $DATA, which neither" in mistakes(ask, task="task.yaml")["task"]


@pytest.mark.parametrize(
    ("text", "why"),
    [("run: a\n---\nrun: b", "a pipeline of 2 tasks"), ("service: {}", "a service"), ("\x00", "not text")],
)
def test_a_task_that_is_none_is_a_mistake(ask: Ask, field: Path, text: str, why: str) -> None:
    (field / "task.yaml").write_text(text)
    assert why in mistakes(ask, task="task.yaml")["task"]
    assert "not a readable file" in mistakes(ask, task="gone.yaml")["task"]
    assert "outside" in mistakes(ask, task="/etc/hostname")["task"]


# ---- mistakes ---------------------------------------------------------------------------------------------------


def test_everything_wrong_is_said_at_once(ask: Ask) -> None:
    said = mistakes(ask, example="usaul", num_nodes=0, gpu="H1000", cloud="aws/us-esat-1", max_cost="x", spott=True)
    assert set(said) == {"example", "num_nodes", "gpu", "cloud", "max_cost", "spott"}
    assert "examples/vision/usual" in said["example"]
    assert "H100" in said["gpu"]
    assert "us-east-1" in said["cloud"]
    said = mistakes(ask, example="usual", preset="trian", max_runtime="soon")
    assert set(said) == {"preset", "max_runtime"}
    assert "train" in said["preset"]


def test_without_a_preset_those_there_are_listed(ask: Ask) -> None:
    assert "a preset: build, train, train-small" in mistakes(ask, example="usual")["example"]


def test_an_example_without_a_preset_and_a_gpu_that_does_not_exist_are_named(ask: Ask, field: Path) -> None:
    text = "resources: {gpu: [L4, H1000]}\n"
    plant(field, {"examples/new/bare/example.yaml": text, "examples/new/bare/go.sh": "echo\n"}, git=False)
    with pytest.raises(RequestError) as caught:
        ask(example="bare")
    wrong_gpu, no_preset = (str(mistake) for mistake in caught.value.mistakes)
    assert "'H1000', which is no GPU that SkyPilot" in wrong_gpu and "H100" in wrong_gpu.partition("mean")[2]
    assert "needs a preset, and has none" in no_preset and "build.sh, train.sh" in no_preset and "''" not in no_preset


@pytest.mark.parametrize(("preset", "why"), [("broken", "gone.sh"), ("silent", "no silent.sh")])
def test_a_preset_that_can_do_nothing_is_a_mistake(ask: Ask, preset: str, why: str) -> None:
    assert why in mistakes(ask, example="usual", preset=preset)["preset"]


@pytest.mark.parametrize("text", ["\x00\x01", "- a", "a: &a [*a, *a", "name: [", "x: " + "[" * 100])
def test_an_unreadable_example_is_one_clear_mistake(ask: Ask, field: Path, text: str) -> None:
    (field / "benchmarks/plain/example.yaml").write_text(text)
    said = mistakes(ask, example="benchmarks/plain", preset="train")
    assert "example.yaml" in said["example"]
    assert len(said) == 1


def test_one_of_example_command_and_task_is_wanted(ask: Ask) -> None:
    assert "is missing" in mistakes(ask)["example"]
    assert "give one of them" in mistakes(ask, example="plain", command="ls")["command"]
    assert "works only with an example" in mistakes(ask, command="ls", preset="train")["preset"]
    assert "works only with a command" in mistakes(ask, example="plain", workdir=".")["workdir"]


@pytest.mark.parametrize(
    ("given", "field_wrong", "why"),
    [
        ({"cloud": "runpod", "num_nodes": 2, "image": "x"}, "num_nodes", "runs together"),
        ({"cloud": "oci", "image": "x"}, "image", "runs no images"),
        ({"cloud": "kubernetes"}, "cloud", "Docker of its own"),
        ({"cloud": "aws,runpod"}, "cloud", "Docker of its own"),
        ({"cloud": "hyperbolic"}, "cloud", "left running"),
        ({"cloud": "sandbox,aws"}, "cloud", "mixes the sandbox"),
    ],
)
def test_what_a_cloud_cannot_do_is_said_before_anything_is_spent(
    ask: Ask, given: dict[str, object], field_wrong: str, why: str
) -> None:
    assert why in mistakes(ask, example="usual", preset="train", **given)[field_wrong]


def test_without_a_place_clouds_that_cannot_run_it_are_avoided(ask: Ask) -> None:
    assert "runpod" in ask(example="usual", preset="train").machines.unfit_clouds
    assert "runpod" not in ask(example="plain").machines.unfit_clouds
    assert "runpod" not in ask(example="usual", preset="train", image="ubuntu:22.04").machines.unfit_clouds
    assert "runpod" in ask(example="plain", num_nodes=2).machines.unfit_clouds
    assert "oci" in ask(example="plain", image="ubuntu:22.04").machines.unfit_clouds
    assert "hyperbolic" in ask(example="plain").machines.unfit_clouds


def test_an_example_of_which_nothing_but_its_yaml_is_here_can_be_planned_not_run(ask: Ask, field: Path) -> None:
    text = "name: alone\nresources: {gpu: 1}\npresets: {build: {script: build.sh}, go: {script: PORT=1 go.sh -- --a}}\n"
    plant(field, {"examples/alone/one/example.yaml": text}, git=False)
    plan = ask(example="alone", preset="go")
    assert plan.work.commands == ("bash build.sh", "bash go.sh --a")
    assert plan.work.missing_scripts == ("go.sh",)
    assert any("plan works, run does not" in warning for warning in plan.warnings)
    assert ask(example="usual", preset="train").work.missing_scripts == ()


def test_a_preset_that_needs_no_docker_runs_where_there_is_none(ask: Ask) -> None:
    assert ask(example="plain", cloud="kubernetes").machines.locations == (Location(cloud="kubernetes"),)


def test_a_gpu_of_ones_own_cluster_may_have_any_name(ask: Ask) -> None:
    assert dict(ask(example="plain", cloud="kubernetes", gpu="MyGPU:2").machines.needs.accelerators) == {"MyGPU": 2}


def test_limits_have_defaults(ask: Ask) -> None:
    assert ask(example="plain").limits.max_runtime_minutes == 60
    plan = ask(example="plain", max_runtime="2h", max_cost="$1.50")
    assert (plan.limits.max_runtime_minutes, plan.limits.max_cost_usd) == (120, 1.5)


# ---- where one stands -------------------------------------------------------------------------------------------


def test_one_may_stand_anywhere_in_the_repository(field: Path) -> None:
    here = field / "examples/vision"
    for typed in ("usual", "examples/vision/usual", str(here / "usual")):
        inputs = from_keywords({"example": typed, "preset": "train"}, environment={})
        plan = prepare(inputs, checkout=open_checkout(here), prices=CataloguePrices())
        assert plan.work.example_path == "examples/vision/usual/example.yaml"
    inputs = from_keywords({"command": "ls", "workdir": "usual"}, environment={})
    plan = prepare(inputs, checkout=open_checkout(here), prices=CataloguePrices())
    assert "train.sh" in [file.path for file in plan.files.staged]


def test_a_folder_without_git_serves_too(tmp_path: Path) -> None:
    plant(tmp_path / "plain", git=False)
    inputs = from_keywords({"example": "usual-example", "preset": "train"}, environment={})
    plan = prepare(inputs, checkout=open_checkout(tmp_path / "plain"), prices=CataloguePrices())
    assert plan.work.setup_commands == ("bash build.sh",)
    assert "examples/vision/usual/data/needed.csv" in [file.path for file in plan.files.staged]


def test_a_changed_but_tracked_file_goes_as_it_is_now(ask: Ask, field: Path) -> None:
    (field / "benchmarks/plain/train.sh").write_text("echo changed\n")
    run_git(field, "rm", "-q", "--cached", "README.md")
    (file,) = [file for file in ask(example="plain").files.staged if file.path.endswith("train.sh")]
    assert Path(str(file.source)).read_text() == "echo changed\n"
    assert posixpath.isabs(str(file.source))


# ---- what is kept when it fails -------------------------------------------------------------------------------------


def in_a_workflow(field: Path, **given: str) -> RunPlan:
    environment = {f"INPUT_{name.upper()}": text for name, text in {"command": "true", "gpu": "none", **given}.items()}
    return prepare(from_environment(environment), checkout=open_checkout(field), prices=CataloguePrices())


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc"


def test_keeping_in_a_terminal_needs_no_key_as_the_one_here_opens_it(ask: Ask) -> None:
    plan = ask(command="true", keep_on_failure=30)
    assert (plan.limits.keep_minutes, plan.machines.public_key) == (30, None)
    assert ask(command="true").limits.keep_minutes == 0


def test_keeping_in_a_workflow_needs_a_key_of_somebody_s(field: Path) -> None:
    with pytest.raises(RequestError, match="give ssh_public_key"):
        in_a_workflow(field, cloud="aws", keep_on_failure="30")
    plan = in_a_workflow(field, cloud="aws", keep_on_failure="30", ssh_public_key=KEY)
    assert (plan.limits.keep_minutes, plan.machines.public_key) == (30, KEY)


def test_nobody_gets_to_a_sandbox_inside_a_runner_so_nothing_on_it_is_kept(field: Path) -> None:
    plan = in_a_workflow(field, cloud="sandbox", keep_on_failure="30")
    assert plan.limits.keep_minutes == 0
    assert any("is ignored" in warning for warning in plan.warnings)
    assert in_a_workflow(field, cloud="sandbox").warnings == ()


def test_credentials_that_git_tracks_are_warned_of_and_others_stay_here(tmp_path: Path) -> None:
    root = plant(tmp_path / "work", {"x.py": "", "server.pem": "-----BEGIN PRIVATE KEY-----\n"})
    plant(root, {"prod.env": "A=b"}, git=False)
    inputs = from_keywords({"command": "true", "workdir": str(root)}, environment={})
    plan = prepare(inputs, checkout=open_checkout(root), prices=CataloguePrices())
    assert [file.path for file in plan.files.staged] == ["server.pem", "x.py"]
    assert any("server.pem (git tracks it)" in warning for warning in plan.warnings)
    assert any("prod.env (it may hold credentials" in warning for warning in plan.warnings)


def test_a_title_ends_between_two_words(ask: Ask) -> None:
    secret = "s3cret" * 5
    command = f"curl --header 'Authorization: Bearer of many words {secret}' x"
    assert ask(command=command).title.endswith("words")
    assert ask(command="short enough").title == "short enough"
