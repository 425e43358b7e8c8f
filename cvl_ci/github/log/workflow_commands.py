"""Our own words to the runner: groups, annotations within its limits, masks, and what it reads from files.

On actions-toolkit's `command` and `file_command`: its `core` writes to sys.stdout alone, which could not stand between
two blocks of the shield, and imports an HTTP client.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from pathlib import Path

from cvl_ci.result.encodings import SHORTEST

MOST_ANNOTATIONS = 10
LONGEST_ANNOTATION = 4_096
SUMMARY_BYTES = 1 << 20
"""Of one step: one byte more, and the runner shows none of it."""


class Commands:
    """`write` gets whole lines. `files`: the environment's GITHUB_OUTPUT, GITHUB_STATE and GITHUB_STEP_SUMMARY."""

    def __init__(self, write: Callable[[str], None], *, files: Mapping[str, str]) -> None:
        self._write = write
        self._files = files
        self._annotated: collections.Counter[str] = collections.Counter()

    def group(self, title: str) -> None:
        self._issue("group", title)

    def end_group(self) -> None:
        self._issue("endgroup", "")

    def mask(self, form: str) -> None:
        lines = form.splitlines()
        for line in lines:
            if line.strip() and (len(lines) == 1 or len(line.strip()) >= SHORTEST):  # a `{` would hide half of the log
                self._issue("add-mask", line)

    def annotate(self, kind: str, text: str, *, title: str = "", file: str = "") -> bool:
        """`notice`, `warning` or `error`. False: the page shows no more of this kind, so it was not said."""
        if self._annotated[kind] >= MOST_ANNOTATIONS:
            return False
        self._annotated[kind] += 1
        properties = {name: value for name, value in (("title", title), ("file", file)) if value}
        self._issue(kind, cut(text, LONGEST_ANNOTATION), **properties)
        return True

    def output(self, name: str, value: str) -> None:
        self._keep("GITHUB_OUTPUT", name, value)

    def state(self, name: str, value: str) -> None:
        """For our post step, which finds it as STATE_name."""
        self._keep("GITHUB_STATE", name, value)

    def summary(self, write: Callable[[int], str]) -> bool:
        """`write` gets how many bytes there is room for. False: nowhere to write it."""
        path = self._files.get("GITHUB_STEP_SUMMARY")
        if not path:
            return False
        file = Path(path)
        already = file.stat().st_size if file.exists() else 0
        text = write(SUMMARY_BYTES - already).encode("utf-8", "replace")
        if len(text) > SUMMARY_BYTES - already:
            return False
        with file.open("ab") as stream:
            stream.write(text)
        return True

    def _keep(self, variable: str, name: str, value: str) -> None:
        from actions_toolkit.file_command import prepare_key_value_message

        path = self._files.get(variable)
        if path:
            text = value.encode("utf-8", "replace").decode()
            with Path(path).open("a", encoding="utf-8", newline="") as stream:
                stream.write(prepare_key_value_message(name, text) + "\n")

    def _issue(self, command: str, message: str, **properties: str) -> None:
        from actions_toolkit.command import Command

        self._write(f"{Command(command, properties, message)}\n")


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
