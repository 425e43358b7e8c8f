"""Which files belong to an example: by its own words, by its project's, and by what its sources name."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import pytest

from cvl_ci.planning import example_files, python_packages
from cvl_ci.planning.example_files import ExampleSources, matches
from cvl_ci.planning.mentions import mentions
from cvl_ci.ports import Paths
from tests.support.processor import within

HOME = "examples/vision/one"
EXAMPLE = {f"{HOME}/example.yaml": "name: one\n", f"{HOME}/train.sh": ""}


def parts(files: Mapping[str, str], *, globs: tuple[str, ...] | None = None, unseen: bool = False) -> list[str]:
    """Beside the example's own folder. `files`: of the checkout, with their texts."""
    every = {**EXAMPLE, **files}
    texts = {path: text for path, text in every.items() if path.startswith(f"{HOME}/")}
    examples = tuple(path.removesuffix("/example.yaml") for path in every if path.endswith("/example.yaml"))
    subject = ExampleSources(directory=HOME, texts=texts, globs=globs, examples=examples, unseen=unseen)
    result = example_files.paths(subject, tree=Paths(every), read=lambda path: every[path].encode())
    assert result[0].path == HOME
    return [part.glob or part.path for part in result[1:]]


SRC = {"src/mylib/__init__.py": "", "src/mylib/deep/x.py": "", "README.md": "", "docs/a.md": ""}
FLAT = {"mylib/__init__.py": "", "mylib/x.py": "", "tests/__init__.py": "", "tools/__init__.py": "", "web/index.js": ""}
TOML = "pyproject.toml"
TWO = {**FLAT, "other/__init__.py": ""}


@pytest.mark.parametrize(
    ("files", "project", "expected"),
    [
        (SRC, {TOML: "[project]\nname = 'my-lib'\n"}, [TOML, "src"]),
        (SRC, {"setup.py": "from setuptools import setup\nsetup()\n"}, ["setup.py", "src"]),
        (SRC, {"setup.cfg": "[options]\npackage_dir =\n    = src\npackages = find:\n"}, ["setup.cfg", "src"]),
        (SRC, {"setup.cfg": "[options]\npackages = find:\n[options.packages.find]\nwhere = src\n"},
         ["setup.cfg", "src"]),
        (SRC, {TOML: "[tool.setuptools.packages.find]\nwhere = ['src']\n"}, [TOML, "src"]),
        (SRC, {TOML: "[tool.setuptools]\npackage-dir = {'' = 'src'}\npackages = ['mylib']\n"}, [TOML, "src"]),
        (SRC, {TOML: "[tool.hatch.build.targets.wheel]\npackages = ['src/mylib']\n"}, [TOML, "src/mylib"]),
        (SRC, {TOML: "[tool.poetry]\nname = 'x'\npackages = [{include = 'mylib', from = 'src'}]\n"},
         [TOML, "src/mylib"]),
        (SRC, {TOML: "[project]\nname = 'x'\n[tool.flit.module]\nname = 'mylib'\n"}, [TOML, "src/mylib"]),
        (SRC, {TOML: "[project]\nname = 'mylib'\n[tool.uv.build-backend]\n"}, [TOML, "src"]),
        (SRC, {TOML: "[project]\nname = 'x'\n[tool.uv.build-backend]\nmodule-name = 'mylib'\n"}, [TOML, "src/mylib"]),
        (SRC, {TOML: "[tool.pdm.build]\nincludes = ['src/mylib']\n"}, [TOML, "src/mylib"]),
        (SRC, {TOML: "this is [no toml"}, [TOML, "src"]),
        (FLAT, {TOML: "[project]\nname = 'x'\n"}, ["mylib", TOML]),
        (FLAT, {TOML: "[tool.uv.build-backend]\nmodule-root = ''\nmodule-name = 'mylib'\n"}, ["mylib", TOML]),
        (FLAT, {"setup.py": ""}, ["mylib", "setup.py"]),
        (TWO, {TOML: "[tool.setuptools]\npackages = ['mylib', 'mylib.deep']\n"}, ["mylib", TOML]),
        (TWO, {"setup.cfg": "[options]\npackages =\n    other\n"}, ["other", "setup.cfg"]),
        (TWO, {TOML: "[tool.setuptools]\npackages = ['gone']\n"}, ["mylib", "other", TOML]),
        ({"one.py": ""}, {TOML: "[tool.setuptools]\npy-modules = ['one']\n"}, ["one.py", TOML]),
        ({"lib/name.py": ""}, {TOML: "[project]\nname = 'name'\n"}, [TOML]),
        ({"my_lib/a.py": ""}, {TOML: "[project]\nname = 'my-lib'\n"}, ["my_lib", TOML]),
        ({"kit/pyproject.toml": "", "kit/src/k/a.py": ""}, {TOML: "[tool.uv.sources]\nk = {path = 'kit'}\n"},
         ["kit", TOML]),
        ({"kits/k/a.py": ""}, {TOML: "[tool.uv.workspace]\nmembers = ['kits/*']\n"}, ["kits", TOML]),
        ({"kit/a.py": ""}, {TOML: "[tool.poetry.dependencies]\nk = {path = './kit'}\n"}, ["kit", TOML]),
        (SRC, {}, []),
        (FLAT, {}, []),
    ],
)  # fmt: skip
def test_the_packages_of_its_project_belong_to_it(
    files: Mapping[str, str], project: Mapping[str, str], expected: list[str]
) -> None:
    assert parts({**files, **project}) == expected


LAID_OUT = {
    **TWO,
    "tools/train.py": "from common import x\nimport numpy\n",
    "tools/common.py": "open('../../../README.md')\n",
    "tools/unrelated.txt": "",
    "configs/base.yaml": "",
    "lib/helper.sh": "",
    "src/kit/a.py": "",
    "data/x.csv": "",
    "examples/vision/two/example.yaml": "",
    "examples/vision/two/run.sh": "",
    "examples/vision/shared/s.py": "",
}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("train.sh", "python ../../../tools/train.py --config ../../../configs/base.yaml\n",
         ["configs/base.yaml", "tools/common.py", "tools/train.py"]),
        ("train.sh", 'cd "$(dirname "$0")/../../.." && python tools/train.py\n',
         ["mylib", "other", "src", "tools/common.py", "tools/train.py"]),
        ("train.sh", 'ROOT=$(git rev-parse --show-toplevel)\npython "$ROOT/tools/train.py"\n',
         ["mylib", "other", "src", "tools/common.py", "tools/train.py"]),
        ("train.sh", 'docker run -v "$(cd "$SCRIPT_DIR/../../.." && pwd)":/repo:ro image python train.py\n',
         ["mylib", "other", "src"]),
        ("train.sh", "pip install -e ../../..\n", ["mylib", "other", "src"]),
        ("train.sh", "PYTHONPATH=src python train.py\n", ["src"]),
        ("train.sh", 'export PYTHONPATH="$ROOT/lib:../../../src"\n', ["lib", "src"]),
        ("train.sh", "source ../shared/s.py\n", ["examples/vision/shared/s.py"]),
        ("train.sh", "bash examples/vision/two/run.sh\n", ["examples/vision/two"]),
        ("train.sh", "# python ../../../tools/train.py\ncurl https://host/tools/train.py -o /data/x.csv\n", []),
        ("train.sh", "python ../../../nowhere.py; rm -rf ../../../../../etc ../..\n", []),
        ("train.py", "import mylib.x as m, kit\nfrom torch import nn\n", ["mylib", "src/kit"]),
        ("train.py", "import other\nsys.path.insert(0, Path(__file__).parents[3] / 'lib')\n", ["lib", "other"]),
        ("train.py", "sys.path.append(os.path.join(HERE, '..', '..', '..', 'lib'))\n", ["lib"]),
        ("train.py", "ROOT = Path(__file__).resolve().parent.parent.parent.parent\n", ["mylib", "other", "src"]),
        ("train.py", "# import mylib\nx = 'tools/train.py'\n", []),
        ("Dockerfile", "FROM x\nCOPY lib tools/train.py /app/\n", ["lib", "tools/common.py", "tools/train.py"]),
        ("requirements.txt", "-e ../../..\nnumpy\n", ["mylib", "other", "src"]),
        ("pyproject.toml", "[tool.uv.sources]\nkit = {path = '../../../src/kit'}\n", ["src/kit"]),
        ("notes.yaml", "see: tools/train.py\nbase: ../../../configs/base.yaml\n", ["configs/base.yaml"]),
        ("example.yaml", "python tools/train.py\nPYTHONPATH=lib\n", ["lib", "tools/common.py", "tools/train.py"]),
    ],
)  # fmt: skip
def test_what_its_sources_name_belongs_to_it(name: str, text: str, expected: list[str]) -> None:
    assert parts({**LAID_OUT, f"{HOME}/{name}": text}) == expected


def test_a_word_that_the_example_answers_to_itself_names_nothing_else() -> None:
    assert parts({**LAID_OUT, f"{HOME}/tools/train.py": "", f"{HOME}/train.sh": "python tools/train.py\n"}) == []


def test_a_project_that_is_installed_takes_the_files_without_which_it_cannot_be_built() -> None:
    text = "[project]\nname = 'x'\nreadme = 'README.md'\nlicense = {file = 'LICENSE'}\n"
    project = {**SRC, "LICENSE": "", TOML: text}
    assert parts(project) == ["pyproject.toml", "src"]
    installed = {**project, f"{HOME}/train.sh": "pip install -e ../../..\n"}
    assert parts(installed) == ["LICENSE", "README.md", "pyproject.toml", "src"]


def test_a_project_within_the_repository_is_one_too() -> None:
    files = {"examples/pyproject.toml": "[project]\nname = 'x'\n", "examples/helpers/__init__.py": "", **SRC}
    assert parts(files) == ["examples/helpers", "examples/pyproject.toml"]


def test_what_is_said_replaces_what_is_worked_out() -> None:
    project = {**SRC, "pyproject.toml": "[project]\nname = 'x'\n", f"{HOME}/train.sh": "cat ../../../README.md\n"}
    assert parts(project, globs=("./src/mylib/**", "*.md")) == ["src/mylib/**", "*.md"]
    assert parts(project, globs=()) == []


def test_scripts_that_are_not_here_may_name_all_that_can_be_imported() -> None:
    assert parts(TWO, unseen=True) == ["mylib", "other"]


def test_an_example_at_the_root_is_the_whole_repository() -> None:
    subject = ExampleSources(directory=".", texts={"train.sh": "python ../x.py\n"})
    [own] = example_files.paths(subject, tree=Paths(["example.yaml", "train.sh", "a/b"]), read=lambda _: b"")
    assert own.holds("a/b")


@pytest.mark.parametrize(
    ("glob", "path", "held"),
    [
        ("src/**", "src/a/b.py", True),
        ("src/**", "srcs/a", False),
        ("src", "src/a/b.py", True),
        ("src", "src", True),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/deep/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "a/b/c.py", True),
        ("a/**/c.py", "a/c.py", True),
        ("a/**/c.py", "a/x/y/c.py", True),
        ("a?.txt", "ab.txt", True),
        ("a?.txt", "a/.txt", False),
        ("*.toml", "deep/x.toml", False),
        ("a+(b).py", "a+(b).py", True),
        ("**", "any/thing", True),
    ],
)
def test_a_glob_holds_what_it_means(glob: str, path: str, held: bool) -> None:
    assert matches(glob, path) is held


@pytest.mark.parametrize(
    "text",
    ["../" * 100_000, "a" * 400_000, "COPY " + " " * 400_000, "\n" * 400_000, "install " * 50_000, "$" * 400_000],
)
@pytest.mark.parametrize("name", ["train.sh", "train.py", "Dockerfile"])
def test_no_source_makes_its_reader_stumble(text: str, name: str) -> None:
    before = time.process_time()
    mentions(text, path=f"{HOME}/{name}", start=HOME, tree=Paths(LAID_OUT))
    assert within(time.process_time() - before, 5)


def test_no_glob_makes_its_reader_stumble() -> None:
    before = time.process_time()
    assert not matches("**/" * 30 + "*a" * 30 + "b", "a" * 60 + "/" + "a" * 60)
    assert within(time.process_time() - before, 5)


def test_no_noise_makes_a_project_stumble() -> None:
    dice = random.Random(5)
    whole = (
        b"[project]\nname = 'x'\nreadme = {file = 'a'}\n[tool.setuptools]\npackages = ['a']\n[tool.poetry]\nname = 3\n"
    )
    for _ in range(300):
        torn = bytearray(whole)
        for _ in range(dice.randrange(1, 8)):
            torn[dice.randrange(len(torn))] = dice.randrange(256)
        python_packages.declared(".", Paths(["a/b.py"]), pyproject=bytes(torn), setup_cfg=bytes(torn))
