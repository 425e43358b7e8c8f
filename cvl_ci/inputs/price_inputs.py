"""The inputs of the verbs about money: `prices` lists offers and fetches the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import parsers
from cvl_ci.inputs.matrix_inputs import read_list
from cvl_ci.inputs.option import CLI, option

UPDATE = "update"
"""The word with which `prices` fetches the catalogue instead of showing it."""


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
        help="With `update`: the folder for the catalogue.",
        metavar="DIR",
        example="catalogs/v8",
        default="~/.sky/catalogs/v8, which SkyPilot reads too",
        other_flags=("--into",),
        entry_points=CLI,
        verbs=("prices",),
    )


PRICE_GROUPS = (PriceInputs,)
