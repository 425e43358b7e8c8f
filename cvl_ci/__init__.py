"""The doors of cvl-ci: a command line, a GitHub Action, a library. Nothing inside the package imports this file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvl_ci.runner import SkyPilotRunner

__all__ = ["SkyPilotRunner"]


def __getattr__(name: str) -> object:
    """The library is loaded when it is asked for: the command line's `--help` and `plan` never pay for it."""
    if name == "SkyPilotRunner":
        from cvl_ci.runner import SkyPilotRunner

        return SkyPilotRunner
    raise AttributeError(f"module 'cvl_ci' has no attribute {name!r}")
