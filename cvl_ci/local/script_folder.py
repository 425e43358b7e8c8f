"""A folder with a script and without an example.yaml, as the earlier runner took it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cvl_ci.errors import RequestError
from cvl_ci.planning.example import FILE_NAME

SCRIPT = "train.py"
SCRIPT_GPU = "A100:1"
"""The GPU of a script without one. An example.yaml needs no such guess."""


def script_of(folder: Path) -> str | None:
    """Return the script of a folder without an example.yaml; None: the folder is not such a one."""
    return SCRIPT if (folder / SCRIPT).is_file() and not (folder / FILE_NAME).exists() else None


def command_of(script: str, args: str | Sequence[str] | None) -> str:
    """Return the command that runs a script of a folder."""
    arguments = args if isinstance(args, str) else shlex.join(args or ())
    return f"python {shlex.quote(script)} {arguments}".rstrip()


@contextmanager
def named_as_script(script: str) -> Iterator[None]:
    """Name the caller's own words in a mistake of the command and the folder that they become."""
    try:
        yield
    except RequestError as error:
        mistakes = [
            replace(one, field="script", value=script)
            if one.field == "command"
            else replace(one, field="example_dir" if one.field == "workdir" else one.field)
            for one in error.mistakes
        ]
        raise RequestError(mistakes, next_step=error.next_step) from None
