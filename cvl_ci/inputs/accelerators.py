"""GPUs as people write them, made the names and counts that SkyPilot knows. Pure: the list of names is an argument."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import near

_MEMORY = re.compile(r"\d+[gmt]b\+?")
"""SkyPilot's `accelerators: 80GB+`: sky/resources.py, _parse_accelerators_from_str."""

_ALIKE = str.maketrans("oil", "011")
"""Letters that people type for digits: `H1OO`, `AlOG`."""

NONE_WORDS = ("none", "no", "0", "cpu")
_CHEAPEST = re.compile(r"\s*any\s*(?::|$)", re.IGNORECASE)
"""`any:H100,L4` means `{H100, L4}`, without braces that a shell might expand."""


class Preferred(dict[str, float]):
    """Alternatives to take in their order, as SkyPilot takes a list; those of a plain mapping by their price."""


def read(value: object) -> dict[str, float]:
    """Read alternatives: a list or `H100:1,L4` in order; `{L4:1, A10G:1}` or `any:L4,A10G` by price; `none`: empty."""
    if isinstance(value, Mapping):
        # `{L4:1, A10G:1}` without quotes is YAML for {"L4:1": null, "A10G:1": null}, and SkyPilot's own way of a set.
        pairs = [
            pair
            for name, count in value.items()
            for pair in (_pairs(str(name)) if count is None else [(str(name), count)])
        ]
    elif isinstance(value, str):
        pairs = _pairs(value)
    elif isinstance(value, Sequence):
        pairs = [pair for entry in value for pair in _pairs(str(entry))]
    elif isinstance(value, int) and value == 0:
        pairs = []
    else:
        raise Wrong("is not a GPU, as in `A100:1`, `{L4:1, A10G:1}` or `none`")
    counts = {name: _count(count) for name, count in pairs}
    return Preferred(counts) if _is_in_order(value) and len(counts) > 1 else counts


def _is_in_order(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip().startswith("{") and not _CHEAPEST.match(value)
    return isinstance(value, Sequence)


def canonical(names: Mapping[str, float], skypilot_names: Collection[str]) -> dict[str, float]:
    """SkyPilot's own spelling; raises Wrong on the first name it does not know."""
    by_lower = {name.lower(): name for name in skypilot_names}
    spelled: dict[str, float] = {}
    for name, count in names.items():
        spelled[_spelled(name, by_lower)] = count
    return Preferred(spelled) if isinstance(names, Preferred) else spelled


def _spelled(name: str, by_lower: Mapping[str, str]) -> str:
    lower = name.lower()
    if _MEMORY.fullmatch(lower):
        raise Wrong("asks for a GPU by its memory: name the GPUs that would do, as in `{L4:1, A10G:1}`", display=name)
    if lower in by_lower:
        return by_lower[lower]
    # A TPU's name carries its size: the catalogue has the family, `tpu-v5p`, the request `tpu-v5p-8`.
    family = re.fullmatch(r"(tpu-v\w+)-\d+", lower)
    if family and family[1] in by_lower:
        return lower
    raise Wrong("is no GPU that SkyPilot knows", near=_near(name, by_lower.values()), display=name)


def _near(name: str, names: Collection[str]) -> tuple[str, ...]:
    """Without what follows its first dash, alike letters, the same beginning: `A100-40GB` is most likely A100."""
    alike = {word.lower().translate(_ALIKE): word for word in names}
    if digits := alike.get(name.lower().translate(_ALIKE)):
        return (digits,)
    head = name.lower().partition("-")[0]
    starts = sorted((word for word in names if word.lower().startswith(name.lower()[:3])), key=len)
    candidates = dict.fromkeys([*(word for word in names if word.lower() == head), *near(name, names), *starts])
    return tuple(candidates)[:3]


def _pairs(text: str) -> list[tuple[str, object]]:
    inner = text.strip()
    if cheapest := _CHEAPEST.match(inner):
        inner = inner[cheapest.end() :].strip()
        if not inner:
            raise Wrong("names no GPU: name those that would do, as in `any:H100,L4`")
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip() or "none"
    if inner.strip().lower() in NONE_WORDS:
        return []
    pairs: list[tuple[str, object]] = []
    for entry in inner.split(","):
        name, colon, count = (part.strip().strip("'\"") for part in entry.strip().partition(":"))
        if not name:
            raise Wrong("is not a GPU, as in `A100:1`, `{L4:1, A10G:1}` or `none`")
        pairs.append((name, count if colon else 1))
    return pairs


def _count(value: object) -> float:
    """Return the count: a whole number, or a part of one GPU, which some machines of AWS and Azure have."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Wrong("has a count that is no number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Wrong("has a count that is no number") from None
    if 0 < number < 1:
        return number
    if not 1 <= number < 10_000 or number != int(number):
        raise Wrong("has a count that is not a whole number of at least 1")
    return int(number)
