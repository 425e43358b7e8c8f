"""The files of an example in a real checkout: what is sent is what is watched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.matrix import MatrixRequest, build
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.errors import RequestError
from cvl_ci.inputs.matrix_inputs import MatrixInputs
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.changes import changed_paths
from cvl_ci.local.git.checkout import open_checkout
from tests.commands.test_the_twelve import HERE, WANTED
from tests.support.field import plant, run_git

PRICES = CataloguePrices()
SANDBOX = MatrixInputs(clouds=("sandbox",))
YAML = "name: {name}\nresources: {{gpu: 0}}\npresets: {{train: {{script: train.sh, docker: false}}}}\n"
LIBRARY = {
    "pyproject.toml": "[project]\nname = 'mylib'\n",
    "src/mylib/__init__.py": "",
    "src/mylib/model.py": "X = 1\n",
    "README.md": "words\n",
    "tools/run.py": "from helpers import x\n",
    "tools/helpers.py": "x = 1\n",
    "shared/data.csv": "1\n",
    "examples/own/example.yaml": YAML.format(name="own"),
    "examples/own/train.sh": "python ../../tools/run.py\n",
    "examples/said/example.yaml": YAML.format(name="said") + "files: [shared/**]\n",
    "examples/said/train.sh": "python train.py\n",
    "examples/alone/example.yaml": YAML.format(name="alone") + "files: []\n",
    "examples/alone/train.sh": "python train.py\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "library", LIBRARY)


def sent(root: Path, example: str, **given: object) -> list[str]:
    inputs = from_keywords({"example": example, "preset": "train", **given}, environment={})
    return [file.path for file in prepare(inputs, checkout=open_checkout(root), prices=PRICES).files.staged]


def run(root: Path, **inputs: object) -> list[str]:
    """The examples that a matrix runs for what differs from the last commit."""
    asked = MatrixRequest(axes=SANDBOX, changed=changed_paths(root, since="HEAD"), inputs=inputs)
    return [leg.name.split()[0] for leg in build(asked, checkout=open_checkout(root), prices=PRICES).legs]


OWN = ["examples/own/example.yaml", "examples/own/train.sh"]
PROJECT = ["pyproject.toml", "src/mylib/__init__.py", "src/mylib/model.py"]


def test_the_library_under_test_goes_along_and_so_does_what_a_script_names(root: Path) -> None:
    assert sent(root, "own") == sorted([*OWN, *PROJECT, "tools/helpers.py", "tools/run.py"])
    assert sent(root, "said") == ["examples/said/example.yaml", "examples/said/train.sh", "shared/data.csv"]
    assert sent(root, "alone") == ["examples/alone/example.yaml", "examples/alone/train.sh"]


def test_files_given_for_a_run_win_over_the_example_s(root: Path) -> None:
    assert sent(root, "said", files=["src/**/model.py"]) == [
        "examples/said/example.yaml", "examples/said/train.sh", "src/mylib/model.py"
    ]  # fmt: skip
    inputs = from_keywords({"example": "said", "files": ["nowhere/*"]}, environment={})
    warnings = prepare(inputs, checkout=open_checkout(root), prices=PRICES).warnings
    assert any("No file matches 'nowhere/*'" in warning for warning in warnings)


@pytest.mark.parametrize("path", ["src/mylib/model.py", "pyproject.toml", "tools/run.py", "tools/helpers.py"])
def test_a_change_of_the_library_runs_what_uses_it(root: Path, path: str) -> None:
    (root / path).write_text("# changed\n" if path == "pyproject.toml" else "from helpers import x  # changed\n")
    assert run(root) == ["own"]


@pytest.mark.parametrize("path", ["src/mylib/model.py", "tools/run.py"])
def test_a_file_that_is_gone_has_changed(root: Path, path: str) -> None:
    run_git(root, "rm", "-q", path)
    assert run(root) == ["own"]


def test_a_new_file_of_the_library_has_changed(root: Path) -> None:
    (root / "src/mylib/new.py").write_text("")
    assert run(root) == ["own"]


@pytest.mark.parametrize(
    ("path", "inputs", "wanted"),
    [
        ("shared/data.csv", {}, ["said"]),
        ("README.md", {}, []),
        ("shared/data.csv", {"files": ("README.md",)}, []),
        ("README.md", {"files": ("README.md",)}, ["alone", "own", "said"]),
        ("examples/alone/train.sh", {}, ["alone"]),
    ],
)
def test_what_is_watched_is_what_is_sent(root: Path, path: str, inputs: dict[str, object], wanted: list[str]) -> None:
    (root / path).write_text("changed\n")
    assert run(root, **inputs) == wanted
    for name in ("own", "said", "alone"):
        assert (path in sent(root, name, **inputs)) is (name in wanted)


def test_a_leg_is_given_the_files_that_its_matrix_was_given(root: Path) -> None:
    asked = MatrixRequest(axes=replace(SANDBOX, examples=("own",)), inputs={"files": ("src/**", "*.md")})
    [leg] = build(asked, checkout=open_checkout(root), prices=PRICES).legs
    assert leg.inputs["files"] == "src/**\n*.md"


def test_a_link_s_target_is_watched_as_well(root: Path) -> None:
    (root / "examples/alone/data.csv").symlink_to("../../shared/data.csv")
    run_git(root, "add", "-A")
    run_git(root, "commit", "-qm", "link")
    (root / "shared/data.csv").write_text("2\n")
    assert run(root) == ["alone", "said"]


@pytest.mark.parametrize("files", ["/etc/passwd", "[../x]", "{a: b}", "[[a]]", "3"])
def test_files_that_are_none_are_one_clear_mistake(root: Path, files: str) -> None:
    (root / "examples/own/example.yaml").write_text(YAML.format(name="own") + f"files: {files}\n")
    with pytest.raises(RequestError, match=r"`files`") as refused:
        sent(root, "examples/own")
    assert len(refused.value.mistakes) == 1
    with pytest.raises(RequestError, match="leads out of"):
        sent(root, "said", files=["../x"])
    with pytest.raises(RequestError, match="works only with an example"):
        prepare(
            from_keywords({"command": "ls", "files": ["x"]}, environment={}),
            checkout=open_checkout(root),
            prices=PRICES,
        )


LIKE_THE_FIELD = {
    "pyproject.toml": "[project]\nname = 'cvl'\nreadme = 'README.md'\n[tool.setuptools]\npackages = ['cvl']\n",
    "README.md": "words\n",
    "cvl/__init__.py": "",
    "cvlization/__init__.py": "",
    "cvlization/data/tiny.py": "",
}
MOUNTED = (
    'SCRIPT_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"\nREPO_ROOT="$(cd "${SCRIPT_DIR}/%s" && pwd)"\n'
    'docker run --rm --gpus all --mount "type=bind,src=${REPO_ROOT},dst=/cvlization_repo,readonly" '
    '--env PYTHONPATH=/cvlization_repo x python train.py "$@"\n'
)


@pytest.mark.skipif(not HERE.is_dir(), reason="THE TWELVE REAL EXAMPLES ARE NOT CHECKED")
@pytest.mark.parametrize("script", [True, False], ids=["with its script", "its example.yaml alone"])
def test_the_field_s_examples_take_the_package_along_that_no_project_declares(tmp_path: Path, script: bool) -> None:
    for directory in WANTED:
        (tmp_path / directory).mkdir(parents=True)
        shutil.copy(HERE / directory / "example.yaml", tmp_path / directory)
        if script:
            up = "/".join([".."] * len(directory.split("/")))
            for name in ("build.sh", "train.sh"):
                (tmp_path / directory / name).write_text(MOUNTED % up)
    checkout = open_checkout(plant(tmp_path, LIKE_THE_FIELD))
    asked = MatrixRequest(axes=MatrixInputs(presets=("*",), clouds=("aws",)), changed=["cvlization/data/tiny.py"])
    # openvla_single_step declares no presets: without a script it has nothing to run.
    assert build(asked, checkout=checkout, prices=PRICES).unchanged == (0 if script else 1)
    inputs = from_keywords({"example": "nanogpt", "preset": "train"}, environment={})
    paths = [file.path for file in prepare(inputs, checkout=checkout, prices=PRICES).files.staged]
    assert {"cvl/__init__.py", "cvlization/data/tiny.py", "pyproject.toml"} <= {*paths}
    assert "README.md" not in paths
