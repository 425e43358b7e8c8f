"""What is left of a command line over its verb's options is refused: a mistyped --dry-run must not pass for none."""

from __future__ import annotations

import argparse

from cvl_ci.errors import Mistake, RequestError
from cvl_ci.request.near import near

WORDS = {"down": "names", "check": "clouds"}
"""Where a verb's words go, wherever on the line they were typed."""


def placed(parsed: argparse.Namespace) -> argparse.Namespace:
    """Raises RequestError where anything is left over, for the verbs that have no table of fields."""
    if parsed.verb not in {*WORDS, "reap"}:
        return parsed
    surplus = list(parsed.rest)
    if parsed.verb in WORDS:
        setattr(parsed, WORDS[parsed.verb], [*getattr(parsed, WORDS[parsed.verb]), *parsed.words])
    else:
        surplus = [*parsed.words, *surplus]
    mistakes = [
        Mistake(field=word.partition("=")[0], value=word, problem="is no option", near=near(word, parsed.known_flags))
        for word in parsed.unknown
    ]
    if surplus and not mistakes:
        mistakes.append(Mistake(field="command line", value=" ".join(surplus), problem="is too much"))
    if mistakes:
        raise RequestError(mistakes)
    return parsed
