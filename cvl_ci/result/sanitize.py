"""Make text from a machine harmless for a terminal: it may hold anything, and a terminal obeys control sequences.

Colours (SGR sequences) may stay. Cursor moves, window titles, clipboard writes, 8-bit controls, bells and the overrides
that reverse text are removed. The text itself stays the same.
"""

from __future__ import annotations

import re
from typing import Any

_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_SEQUENCE = re.compile(
    # Titles, clipboard and so on. A sequence that begins ends the one before: otherwise each would search to the line's
    # end.
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\x9d\x90\x98\x9e\x9f\r\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # cursor moves, erasing, modes
    r"|\x1b[ -/]*[0-~]"  # everything else that begins with escape
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def for_terminal(text: str) -> str:
    """Return one line of a job, colours kept. A progress bar redrawn by carriage returns shows its last state."""
    if text.isprintable():  # most lines are: a hundred times quicker for a job that prints millions
        return text
    return "".join(
        part if _SGR.fullmatch(part) else _without_controls(part) for part in _split_colours(_last_state(text))
    )


def plain(text: str) -> str:
    """Return one line without any control: for names, reasons and paths in cvl-ci's own sentences."""
    return text if text.isprintable() else _without_controls(_SGR.sub("", " ".join(text.splitlines())))


def encodable(value: Any) -> Any:
    r"""Return text, or a JSON value, with U+FFFD for lone surrogates, which no file and no API takes.

    They come from JSON (`\ud800`) and from names of files that are not UTF-8 (os.fsdecode).
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {encodable(key): encodable(inner) for key, inner in value.items()}
    return [encodable(inner) for inner in value] if isinstance(value, list) else value


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state]
    return states[-1] if states else ""


def _split_colours(line: str) -> list[str]:
    return re.split(f"({_SGR.pattern})", line)


def _without_controls(text: str) -> str:
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", _SEQUENCE.sub("", text)))
