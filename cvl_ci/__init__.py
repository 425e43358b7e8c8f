"""Entry points of cvl-ci: a command line, a GitHub Action, a library. Nothing inside the package imports this file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvl_ci.runner import SkyPilotRunner

__all__ = ["SkyPilotRunner"]


def __getattr__(name: str) -> object:
    """Load the library at its first use, so that `--help` and `plan` of the command line do not wait for it."""
    if name == "SkyPilotRunner":
        from cvl_ci.runner import SkyPilotRunner

        return SkyPilotRunner
    raise AttributeError(f"module 'cvl_ci' has no attribute {name!r}")
