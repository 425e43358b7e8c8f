"""Write the workflows in README and docs as files that linters read: `python -m tests.support.snippets FOLDER`.

Each line keeps its number where the page leaves room, so a complaint about README-58.yml is about that line of the
README. Steps alone get the rest of a workflow.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.doc_tables import PAGES

AROUND_STEPS = """\
name: Steps
on: workflow_dispatch
permissions: {}
concurrency:
  group: steps
  cancel-in-progress: false
jobs:
  steps:
    name: Steps
    runs-on: ubuntu-latest
    environment: gpu
    steps:
"""
OF_A_MATRIX = """\
    strategy:
      matrix: ${{ fromJSON(vars.MATRIX) }}
"""


@functools.cache
def fences(markdown: str) -> tuple[Token, ...]:
    """Return the blocks of code of a page. What its sentences hold is not read: it takes half of the time."""
    parser = MarkdownIt().disable("inline")
    return tuple(token for token in parser.parse(markdown) if token.type == "fence")


def workflows(markdown: str) -> Iterator[tuple[int, str]]:
    """Number of the first line, and a whole workflow whose lines are where they were."""
    for token in fences(markdown):
        if token.info.strip() in {"yaml", "yml"} and token.map:
            before = token.map[0] + 1
            whole = _whole(token.content)
            if whole:
                head, body = whole
                yield before + 1, "\n" * (before - head.count("\n")) + head + body


def is_queue(document: object) -> bool:
    """Return whether this is a queue of cvl-ci: its jobs are a list, and those of a workflow are not."""
    return isinstance(document, dict) and isinstance(document.get("jobs"), list)


def _whole(text: str) -> tuple[str, str] | None:
    """What comes before it, and it; None: no workflow at all, but an example's or SkyPilot's YAML."""
    document = yaml.safe_load(text)
    if isinstance(document, dict) and {"jobs", "on", True} & document.keys():  # `on` is a boolean of YAML 1.1
        if is_queue(document):
            return None
        return "", text
    if isinstance(document, list) and all(isinstance(one, dict) and {"uses", "run"} & one.keys() for one in document):
        around = (
            AROUND_STEPS.replace("    steps:\n", f"{OF_A_MATRIX}    steps:\n") if "matrix." in text else AROUND_STEPS
        )
        return around, indent(text, " " * 6)
    return None


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        for line, text in workflows(page.read_text(encoding="utf-8")):
            (folder / f"{page.stem}-{line}.yml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
