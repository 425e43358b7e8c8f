"""Summaries of runs, from folders of `<lease>.json` files and from lines of history; and what a page is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cvl_ci.errors import CvlError, Mistake, RequestError
from cvl_ci.local.git.changes import ancestors
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model import lease_name
from cvl_ci.planning import safe_yaml
from cvl_ci.result.benchmark import leg as legs
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


def gather(paths: Iterable[str], *, field: str) -> tuple[list[Leg], list[str]]:
    """Legs, and what could not be read. A summary lies in a folder that was named, or one level below it in the folder
    of an artifact for summaries (result/matrix/source.py). The files deeper down are a job's own outputs.

    Raises RequestError for a path that is not there.
    """
    found: list[Leg] = []
    troubles: list[str] = []
    missing = []
    for text in paths:
        path = Path(text)
        if not path.exists():
            missing.append(Mistake(field=field, value=text, problem="is no file and no folder"))
            continue
        if path.is_file():
            _take(path, found, troubles, expected=True)
            continue
        for file in _files(path, troubles):
            _take(file, found, troubles, expected=file.name.startswith(lease_name.PREFIX))
        for folder in _artifacts(path):
            _take_artifact(folder, found, troubles)
    if missing:
        raise RequestError(missing)
    return found, troubles


def rules(path: str | None) -> Rules:
    """Of the file given, or of the usual one where it is there. Raises RequestError."""
    file = Path(path or FILE_NAME)
    if path is None and not file.is_file():
        return Rules()
    try:
        with file.open("rb") as opened:
            return read_rules(opened.read(safe_yaml.LARGEST_BYTES + 1))
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise RequestError([Mistake(field="--rules", value=str(file), problem=problem)]) from None


def base_commits(
    here: Path, history: Sequence[Leg], *, base: str | None, warn: Callable[[str], None]
) -> tuple[str, ...]:
    """The base and its ancestors, nearest first. Empty, which is all of history: no run in it knows its commit."""
    if not history or not any(leg.commit for leg in history):
        return ()
    root = open_checkout(here).root
    try:
        return tuple(ancestors(root, of=base or "HEAD~1"))
    except CvlError as error:
        if base is not None:
            raise
        warn(f"The commit before this one is not here, so nothing is compared: give --base. {error.next_step}")
        return (NO_COMMIT,)


def write_lines(found: Sequence[Leg], file: Path) -> int:
    """Write legs as history keeps them; return how many. Raises LinkInTheWay."""
    write_text(file, "".join(f"{legs.line(leg)}\n" for leg in found))
    return len(found)


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
    """The folders that hold summaries alone, as artifacts are unpacked: a folder each."""
    for folder in sorted(path.iterdir()):
        if source.step_of(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield folder


def _files(path: Path, troubles: list[str]) -> list[Path]:
    """In the order of their names; links are not followed: they may lead anywhere."""
    wanted = [one for one in path.iterdir() if one.suffix in {".json", ".jsonl"}]
    files = sorted(one for one in wanted if one.is_file() and not one.is_symlink())
    if len(files) > MOST_FILES:
        troubles.append(f"{path.name} holds more than {MOST_FILES:,} files; the rest was not read")
    return files[:MOST_FILES]


def _take_artifact(folder: Path, found: list[Leg], troubles: list[str]) -> None:
    """Of `<lease>.json`, the one file of it. Without it the end of a leg is unknown."""
    before = len(found), len(troubles)
    for file in _files(folder, troubles):
        try:
            found.append(source.read(file.name, _content(file)))
        except (OSError, ValueError) as error:
            troubles.append(f"{short(file.name)} {error}")
    if (len(found), len(troubles)) == before:
        troubles.append(f"{short(folder.name)} holds no summary")


def _take(file: Path, found: list[Leg], troubles: list[str], *, expected: bool) -> None:
    """`expected`: whether a file that is no summary is worth a word. Jobs write JSON files of their own."""
    try:
        if file.suffix == ".jsonl":
            with file.open("rb") as opened:
                read, unread = _lines(line for line, _ in zip(opened, range(MOST_LINES), strict=False))
            found += read
            troubles += [f"{short(file.name)} holds {unread} lines that are not runs"] * bool(unread)
        else:
            found.append(source.marked(_content(file)))
    except (OSError, ValueError) as error:
        if expected:
            troubles.append(f"{short(file.name)} {error}")


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(legs.LARGEST_BYTES + 1)


def _lines(lines: Iterable[bytes]) -> tuple[Sequence[Leg], int]:
    """And how many lines are no runs: one that was cut short is nobody's."""
    found, unread = [], 0
    for line in lines:
        try:
            found.append(legs.read(line))
        except ValueError:
            unread += bool(line.strip())
    return found, unread
