"""Summaries of runs, from folders of `<lease>.json` files and from lines of history; and what a page is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cvl_ci.errors import CvlError, Mistake, RequestError
from cvl_ci.local.changes import ancestors
from cvl_ci.local.checkout import open_checkout
from cvl_ci.request import document
from cvl_ci.result.benchmark import leg as legs
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.readings import short
from cvl_ci.result.benchmark.rules import FILE_NAME, Rules
from cvl_ci.result.benchmark.rules import read as read_rules
from cvl_ci.result.legs.page import Assets
from cvl_ci.result.unlinked import write_text

MOST_FILES = 20_000
MOST_LINES = 100_000
NO_COMMIT = "-"
_PAGE = Path(__file__).parent / "page"


def gather(paths: Iterable[str], *, field: str) -> tuple[list[Leg], list[str]]:
    """And the names of what looked like a summary and was none. A JSON file that is something else is passed over in
    silence: examples write those too. Raises RequestError for a path that is not there."""
    found: list[Leg] = []
    troubles: list[str] = []
    missing = []
    for text in paths:
        path = Path(text)
        if not path.exists():
            missing.append(Mistake(field=field, value=text, problem="is no file and no folder"))
            continue
        for file in _files(path):
            _take(file, found, troubles)
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
            return read_rules(opened.read(document.LARGEST_BYTES + 1))
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
    """The page's style and scripts, the plotting library's own first."""

    def read(name: str) -> str:
        return (_PAGE / name).read_text(encoding="utf-8")

    return Assets(
        styles=[read("uPlot.min.css"), read("page.css")],
        scripts=[read("uPlot.iife.min.js"), read("page.js")],
        licence=read("uPlot.LICENSE"),
    )


def _files(path: Path) -> Iterator[Path]:
    """In the order of their names; links are not followed: they may lead anywhere."""
    if path.is_file():
        yield path
        return
    count = 0
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            file = Path(folder, name)
            if name.endswith((".json", ".jsonl")) and not file.is_symlink() and count < MOST_FILES:
                count += 1
                yield file


def _take(file: Path, found: list[Leg], troubles: list[str]) -> None:
    try:
        with file.open("rb") as opened:
            if file.suffix == ".jsonl":
                read, unread = _lines(line for line, _ in zip(opened, range(MOST_LINES), strict=False))
                found += read
                troubles += [f"{short(file.name)} holds {unread} lines that are no runs"] * bool(unread)
            else:
                found.append(legs.read(opened.read(legs.LARGEST_BYTES + 1)))
    except (OSError, ValueError) as error:
        if file.name.startswith("cvl-") and not str(error).startswith("is no summary"):
            troubles.append(f"{short(file.name)} {error}")


def _lines(lines: Iterable[bytes]) -> tuple[Sequence[Leg], int]:
    """And how many lines are no runs: one that was cut short is nobody's."""
    found, unread = [], 0
    for line in lines:
        try:
            found.append(legs.read(line))
        except ValueError:
            unread += bool(line.strip())
    return found, unread
