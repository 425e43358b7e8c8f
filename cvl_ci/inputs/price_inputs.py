"""The inputs of the verbs about money: `prices` lists offers and fetches the catalogue, `cost` sums runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from cvl_ci.inputs import parsers
from cvl_ci.inputs.matrix_inputs import read_list
from cvl_ci.inputs.option import CLI, option
from cvl_ci.inputs.parsers import Wrong

UPDATE = "update"
"""The word with which `prices` fetches the catalogue instead of showing it."""


def read_since(value: object) -> str:
    """Return a number of days such as `30d`, or a day such as `2026-09-01`. Raise Wrong."""
    text = parsers.text(value)
    if re.fullmatch(r"[1-9]\d{0,3}d", text):
        return text
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Wrong("is neither a number of days such as 30d nor a day such as 2026-09-01") from None


@dataclass(frozen=True, kw_only=True)
class CostInputs:
    """The time whose cost is summed. The folders and the branch are inputs of other verbs too."""

    since: str | None = option(
        read_since,
        help="The beginning: a number of days, or a day.",
        metavar="SINCE",
        example="2026-09-01",
        default="30d",
        entry_points=CLI,
        verbs=("cost",),
    )


@dataclass(frozen=True, kw_only=True)
class PriceInputs:
    """The GPU whose offers are shown. The cloud and the use of spot are inputs of a run too."""

    gpu_words: tuple[str, ...] = option(
        read_list,
        value=(),
        help="A GPU and its count, such as `H100:8`, or `none`. The word `update` fetches SkyPilot's catalogue "
        "instead, for all clouds or those that follow.",
        metavar="GPU...",
        example="H100:8",
        is_positional=True,
        is_repeatable=True,
        entry_points=CLI,
        verbs=("prices",),
    )
    catalogue: str | None = option(
        parsers.text,
        help="The folder of the catalogue: a list reads it, and `update` fills it.",
        metavar="DIR",
        example="catalogs/v8",
        default="~/.sky/catalogs/v8, which SkyPilot reads too",
        other_flags=("--into",),
        entry_points=CLI,
        verbs=("prices",),
    )


PRICE_GROUPS = (PriceInputs, CostInputs)
