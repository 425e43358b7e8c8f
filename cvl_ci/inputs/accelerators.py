"""GPUs as people write them, made the names and counts that SkyPilot knows. Pure: the list of names is an argument."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.gpu_memory import GPU_MEMORY

_MEMORY = re.compile(r"(?:(?P<maker>[a-z]+):)?(?P<number>\d+)(?P<unit>[gmt])b(?P<plus>\+?)", re.IGNORECASE)
"""SkyPilot's `80GB+` and `amd:192GB`: sky/resources.py, _parse_accelerators_from_str."""
_MEMORY_AND_COUNT = re.compile(r"(?P<name>(?:[a-z]+:)?\d+[gmt]b\+?)(?::(?P<count>.*))?", re.IGNORECASE)
_GB = {"m": 2.0**-10, "g": 1.0, "t": 2.0**10}

_ALIKE = str.maketrans("oil", "011")
"""Letters that people type for digits: `H1OO`, `AlOG`."""

OWN_NAME = "if a cluster of your own has it, name that cluster too,"
_SHORTEST_PART = 4
"""A shorter part of a name, such as `10G`, is more likely a slip."""

NONE_WORDS = ("none", "no", "0", "cpu")
_CHEAPEST = re.compile(r"\s*any\s*(?::|$)", re.IGNORECASE)
"""`any:H100,L4` means `{H100, L4}`, without braces that a shell might expand."""


class Gpus(dict[str, float]):
    """Alternatives, name → count. `in_order`: to take in their order, as SkyPilot takes a list; else by their price.

    `pairs`: all of them, for a name may have several counts, as in `{A100:4, A100:8}`. `by_memory`: names that stand
    for a requested memory.
    """

    def __init__(
        self, pairs: Iterable[tuple[str, float]], *, in_order: bool = False, by_memory: Collection[str] = ()
    ) -> None:
        self.pairs = tuple(dict.fromkeys(pairs))
        super().__init__(self.pairs)
        self.in_order = in_order and len(self.pairs) > 1
        self.by_memory = frozenset(by_memory)

    @property
    def has_several_counts(self) -> bool:
        """Return whether a name has several counts, which a mapping alone cannot hold."""
        return len(self.pairs) > len(self)


def read(value: object) -> Gpus:
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
    return Gpus(((name, _count(count)) for name, count in pairs), in_order=_is_in_order(value))


def of(gpus: Mapping[str, float]) -> Gpus:
    """Return a plain mapping as alternatives by their price."""
    return gpus if isinstance(gpus, Gpus) else Gpus(gpus.items())


def _is_in_order(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip().startswith("{") and not _CHEAPEST.match(value)
    return isinstance(value, Sequence)


def canonical(gpus: Mapping[str, float], skypilot_names: Collection[str], *, allows_own: bool = False) -> Gpus:
    """Return SkyPilot's own spelling, and the GPUs of a requested memory. Raise Wrong on the first unknown name.

    `allows_own`: an unknown name stays, because the owner of a cluster names its GPUs.
    """
    by_lower = {name.lower(): name for name in skypilot_names}
    spelled: list[tuple[str, float]] = []
    by_memory: set[str] = set()
    for name, count in of(gpus).pairs:
        if memory := _MEMORY.fullmatch(name):
            of_memory = _of_memory(memory, skypilot_names)
            spelled += [(one, count) for one in of_memory]
            by_memory.update(of_memory)
        elif allows_own:
            spelled.append((by_lower.get(name.lower(), name), count))
        else:
            spelled.append((_spelled(name, by_lower), count))
    return Gpus(spelled, in_order=of(gpus).in_order, by_memory=by_memory)


def _of_memory(memory: re.Match[str], skypilot_names: Collection[str]) -> list[str]:
    """Return the GPUs with this memory, the smallest first. Raise Wrong if there is none."""
    least = int(memory["number"]) * _GB[memory["unit"].lower()]
    makers = {maker for maker, _ in GPU_MEMORY.values()}
    maker = (memory["maker"] or "").lower()
    if maker and maker not in makers:
        raise Wrong("names an unknown maker of GPUs", near=similar(maker, makers), display=memory[0])
    fitting = [
        (gigabytes, name)
        for name, (its_maker, gigabytes) in GPU_MEMORY.items()
        if name in skypilot_names and maker in ("", its_maker)
        if (gigabytes >= least if memory["plus"] else gigabytes == least)
    ]
    if not fitting:
        raise Wrong(f"fits no GPU: the largest has {max(gb for _, gb in GPU_MEMORY.values()):g}GB", display=memory[0])
    return [name for _, name in sorted(fitting)]


def _spelled(name: str, by_lower: Mapping[str, str]) -> str:
    lower = name.lower()
    if lower in by_lower:
        return by_lower[lower]
    # A TPU's name carries its size: the catalogue has the family, `tpu-v5p`, the request `tpu-v5p-8`.
    family = re.fullmatch(r"(tpu-v\w+)-\d+", lower)
    if family and family[1] in by_lower:
        return lower
    # SkyPilot takes a part of one name for it, `MI300` for MI300X: sky/utils/accelerator_registry.py.
    containing = sorted(full for its_lower, full in by_lower.items() if lower in its_lower)
    if len(containing) == 1 and len(lower) >= _SHORTEST_PART:
        return containing[0]
    raise Wrong("is no GPU that SkyPilot knows", near=_similar(name, by_lower.values()), display=name)


def _similar(name: str, names: Collection[str]) -> tuple[str, ...]:
    """Without what follows its first dash, alike letters, the same beginning: `A100-40GB` is most likely A100."""
    alike = {word.lower().translate(_ALIKE): word for word in names}
    if digits := alike.get(name.lower().translate(_ALIKE)):
        return (digits,)
    head = name.lower().partition("-")[0]
    starts = sorted((word for word in names if word.lower().startswith(name.lower()[:3])), key=len)
    candidates = dict.fromkeys([*(word for word in names if word.lower() == head), *similar(name, names), *starts])
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
        if memory := _MEMORY_AND_COUNT.fullmatch(re.sub(r"[\s'\"]", "", entry)):
            pairs.append((memory["name"], 1 if memory["count"] is None else memory["count"]))
            continue
        name, colon, count = (part.strip().strip("'\"") for part in entry.strip().partition(":"))
        if not name:
            raise Wrong("is not a GPU, as in `A100:1`, `{L4:1, A10G:1}` or `none`")
        pairs.append((name, count if colon else 1))
    return pairs


def _count(value: object) -> float:
    """Return the count: a whole number, or a part of one GPU, which some machines of AWS and Azure have."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Wrong("has a count that is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Wrong("has a count that is not a number") from None
    if 0 < number < 1:
        return number
    if not 1 <= number < 10_000 or number != int(number):
        raise Wrong("has a count that is not a whole number of at least 1")
    return int(number)
