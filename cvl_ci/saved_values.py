"""Read dataclasses from JSON that cvl-ci once wrote. It may come from elsewhere, so each value is checked. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

LARGEST = 32_503_680_000.0
"""The end of all amounts and moments: the year 3000."""
LARGEST_COUNT = 1 << 53
"""The end of whole numbers, such as a count of bytes: not each reader of JSON keeps a larger one exact."""
T = TypeVar("T")


def read(kind: type[T], document: object, *, least: float = -LARGEST) -> T:
    """Return a parsed document as this dataclass. Raise ValueError or RecursionError for another document.

    Each value has the type of its field, and no number is below `least`. A missing field gets its default: an earlier
    version did not write it. An unknown field is of a later version, and is left out.
    """
    import msgspec  # takes tens of milliseconds, so only a file that exists pays for it

    try:
        value = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    for number in _numbers(value):
        if not least <= number < (LARGEST_COUNT if isinstance(number, int) else LARGEST):  # NaN passes no comparison
            raise ValueError("a number is out of all bounds")
    return value


def _numbers(value: object) -> Iterator[float]:
    """Yield each number in a value and in its parts."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, Mapping):
        yield from _numbers(tuple(value.values()))
    elif hasattr(value, "__dataclass_fields__"):
        yield from _numbers(vars(value))
