"""Name the work of a run, so that runs of the same work can be compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorkIdentity:
    """Names of the work: by them one run is compared with another.

    `example`, `preset`: empty for a command and a task. `image`: empty without one.
    """

    title: str = ""
    example: str = ""
    preset: str = ""
    image: str = ""
