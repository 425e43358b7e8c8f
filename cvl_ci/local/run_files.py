"""Summaries of runs, from folders of `<lease>.json` files and from lines of history; and the assets of a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path

from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.local.git.changes import ancestors
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.git.committed import tracked_files
from cvl_ci.model import lease_name
from cvl_ci.planning import safe_yaml
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.readings import short
from cvl_ci.result.benchmark.rules import FILE_NAME, Rules
from cvl_ci.result.benchmark.rules import read as read_rules
from cvl_ci.result.matrix import source
from cvl_ci.result.matrix.page import Assets
from cvl_ci.result.no_follow import write_text

MOST_FILES = 20_000
MOST_LINES = 100_000
NO_COMMIT = "-"
_PAGE = Path(__file__).parent / "page"


COMMITTED = "is in git, so a commit could forge it: it is not read"


def gather(paths: Iterable[str], *, field: str, believes_git: bool = False) -> tuple[list[Leg], list[str]]:
    """Return legs, and problems with files.

    `believes_git`: read files that the repository here tracks too. A pull request can change them.

    A summary lies in one of these folders, or one level below in the folder of an artifact for summaries
    (result/matrix/source.py). Files further down are a job's own outputs.
    Raises RequestError for a path that does not exist.
    """
    legs_: list[Leg] = []
    troubles: list[str] = []
    missing = []
    paths = list(paths)
    forgeable = frozenset[Path]() if believes_git else tracked_files(Path.cwd(), paths)
    for text in paths:
        path = Path(text)
        if not path.exists():
            missing.append(InputProblem(field=field, value=text, problem="is neither a file nor a folder"))
            continue
        if path.is_file():
            _read_leg_file(path, legs_, troubles, expected=True, forgeable=forgeable)
            continue
        for file in _files(path, troubles):
            is_summary = file.name.startswith(lease_name.PREFIX)
            _read_leg_file(file, legs_, troubles, expected=is_summary, forgeable=forgeable)
        for folder in _artifacts(path):
            _take_artifact(folder, legs_, troubles, forgeable=forgeable)
    if missing:
        raise RequestError(missing)
    return legs_, troubles


def rules(path: str | None) -> Rules:
    """Return the rules of this file, or of the usual one if it exists. Raises RequestError."""
    file = Path(path or FILE_NAME)
    if path is None and not file.is_file():
        return Rules()
    try:
        with file.open("rb") as opened:
            return read_rules(opened.read(safe_yaml.LARGEST_BYTES + 1))
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise RequestError([InputProblem(field="--rules", value=str(file), problem=problem)]) from None


def base_commits(
    folder: Path, history: Sequence[Leg], *, base: str | None, warn: Callable[[str], None]
) -> tuple[str, ...]:
    """Return the base and its ancestors, nearest first. Empty means all of history: no run in it knows its commit."""
    if not history or not any(leg.source.commit for leg in history):
        return ()
    root = open_checkout(folder).root
    try:
        return tuple(ancestors(root, of=base or "HEAD~1"))
    except CvlError as error:
        if base is not None:
            raise
        warn(
            f"The commit before this one is not in the checkout, so nothing is compared: give --base. {error.next_step}"
        )
        return (NO_COMMIT,)


def write_lines(found_legs: Sequence[Leg], file: Path) -> int:
    """Write legs in the format of history, and return their number. Raises LinkInTheWay."""
    write_text(file, "".join(f"{leg_file.line(leg)}\n" for leg in found_legs))
    return len(found_legs)


def assets() -> Assets:
    """Return the page's template, style and scripts, the plotting library's own first."""

    def read(name: str) -> str:
        return (_PAGE / name).read_text(encoding="utf-8")

    return Assets(
        template=read("report.html.jinja"),
        styles=[read("uPlot.min.css"), read("page.css")],
        scripts=[read("uPlot.iife.min.js"), read("page.js")],
        licence=read("uPlot.LICENSE"),
    )


def _artifacts(path: Path) -> Iterator[Path]:
    """Yield the folders with summaries alone: each unpacked artifact has one."""
    for folder in sorted(path.iterdir()):
        if source.step_of(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield folder


def _files(path: Path, troubles: list[str]) -> list[Path]:
    """Return the files, by name. Links may lead anywhere, so they are not followed."""
    candidates = [one for one in path.iterdir() if one.suffix in {".json", ".jsonl"}]
    files = sorted(one for one in candidates if one.is_file() and not one.is_symlink())
    if len(files) > MOST_FILES:
        troubles.append(f"{path.name} holds more than {MOST_FILES:,} files; the rest is not read")
    return files[:MOST_FILES]


def _take_artifact(folder: Path, legs_: list[Leg], troubles: list[str], *, forgeable: Container[Path]) -> None:
    """Read `<lease>.json`, the only file of the artifact. Without it the end of a leg is unknown."""
    before = len(legs_), len(troubles)
    for file in _files(folder, troubles):
        try:
            _refuse(file, forgeable)
            legs_.append(source.read(file.name, _content(file)))
        except (OSError, ValueError) as error:
            troubles.append(f"{short(file.name)} {error}")
    if (len(legs_), len(troubles)) == before:
        troubles.append(f"{short(folder.name)} holds no summary")


def _refuse(file: Path, forgeable: Container[Path]) -> None:
    """Raise ValueError for a file that came with a commit, also with that of a submodule: git tracks its folder."""
    real = Path(os.path.realpath(file))
    if any(one in forgeable for one in (real, *real.parents)):
        raise ValueError(COMMITTED)


def _read_leg_file(
    file: Path, legs_: list[Leg], troubles: list[str], *, expected: bool, forgeable: Container[Path]
) -> None:
    """Read a file.

    `expected`: whether a file that is not a summary is a problem. Jobs write JSON files of their own.
    """
    try:
        _refuse(file, forgeable)
        if file.suffix == ".jsonl":
            with file.open("rb") as opened:
                read, unread = _lines(line for line, _ in zip(opened, range(MOST_LINES), strict=False))
            legs_ += read
            troubles += [f"{short(file.name)} holds {unread} lines that are not runs"] * bool(unread)
        else:
            legs_.append(source.marked(_content(file)))
    except (OSError, ValueError) as error:
        if expected:
            troubles.append(f"{short(file.name)} {error}")


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(leg_file.LARGEST_BYTES + 1)


def _lines(lines: Iterable[bytes]) -> tuple[Sequence[Leg], int]:
    """Return the legs, and the number of lines that are not runs, such as a cut one."""
    legs_, unread = [], 0
    for line in lines:
        try:
            legs_.append(leg_file.read(line))
        except ValueError:
            unread += bool(line.strip())
    return legs_, unread
