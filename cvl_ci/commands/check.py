"""Show the state of each cloud's credentials in one table. It launches nothing and asks no cloud."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

from cvl_ci.errors import CredentialsError, InputProblem, RequestError
from cvl_ci.inputs.suggest import similar, with_names
from cvl_ci.model.access import CloudAccess
from cvl_ci.ports import Prices

HEAD = ("cloud", "runs", "present", "missing", "what to add")
NARROWEST = 16


def named_clouds(names: Sequence[str], all_clouds: Collection[str]) -> list[str]:
    """Return the clouds to check; all of them if the user named none. Raises RequestError with every unknown name."""
    words = [word for name in names for word in name.lower().split(",") if word]
    unknown = [word for word in words if word not in all_clouds]
    if unknown:
        mistakes = []
        for word in unknown:
            near = similar(word, all_clouds)
            problem = with_names("is not a cloud", all_clouds, near)
            mistakes.append(InputProblem(field="CLOUD", value=word, problem=problem, near=near))
        raise RequestError(mistakes, next_step="Without a name, `cvl-ci check` shows every cloud.")
    return list(dict.fromkeys(words)) or list(all_clouds)


def exit_code(accesses: Sequence[CloudAccess], *, named: bool) -> int:
    """Return the exit code. All named clouds must be usable; without a name, one usable cloud is enough."""
    usable = [access.usable for access in accesses]
    return 0 if (all(usable) if named else any(usable)) else CredentialsError.exit_code


def catalogue(accesses: Sequence[CloudAccess], prices: Prices) -> list[str]:
    """Return the source and the day of the prices, and a warning where they are old."""
    clouds = [access.cloud for access in accesses]
    dated = prices.date_of(clouds)
    warning = prices.age_warning([access.cloud for access in accesses if access.usable])
    return [
        f"Prices: {dated}." if dated else "Prices: none are known for these clouds.",
        *([warning] if warning else []),
    ]


def as_text(accesses: Sequence[CloudAccess], *, width: int) -> str:
    rows = [HEAD, *(_row(access) for access in accesses)]
    fixed = [max(len(row[at]) for row in rows) for at in (0, 1)]
    wide = max(NARROWEST, (width - sum(fixed) - 8) // 3)
    lines = [line for row in rows for line in _lines(row, [*fixed, wide, wide, wide])]
    return "\n".join(lines)


def _row(access: CloudAccess) -> tuple[str, ...]:
    runs = "yes" if access.usable else "not yet" if access.unsupported else "no"
    missing = [*access.missing, access.unsupported] if access.unsupported else list(access.missing)
    takes = access.takes or (("nothing",) if access.usable else ())
    return (
        access.cloud,
        runs,
        "; ".join([*access.available, *access.notes]) or "nothing",
        "; ".join(missing) or "nothing",
        "; ".join(takes) or "-",
    )


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(row, widths, strict=True)
    ]
    height = max(map(len, cells))
    padded = [cell + [""] * (height - len(cell)) for cell in cells]
    return [
        "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip(*padded, strict=True)
    ]
