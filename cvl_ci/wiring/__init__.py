"""The only package that knows every adapter. An entry point calls it by name and knows no adapter.

The module of a name is imported at its call: a post without work needs two of these files, and each workflow runs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvl_ci.wiring.access import (
        cloud_access,
        credentials,
        forget_credentials,
        goes_through_server,
        has_credentials,
        on_usable_clouds,
        require_credentials,
        service_places,
        set_up,
    )
    from cvl_ci.wiring.clouds import (
        THROUGH_SERVER,
        OpenClouds,
        machine_types,
        of_plan,
        on_sandbox,
        prices,
        sandbox_was_left,
        skypilot_catalogue,
    )
    from cvl_ci.wiring.directories import (
        environment,
        keep_details,
        key_locks,
        open_records,
        post_state_path,
        run_logs,
        sandbox_directory,
        step_state_path,
    )
    from cvl_ci.wiring.drilling import drill
    from cvl_ci.wiring.month import within_month
    from cvl_ci.wiring.one_run import carry_out, end, until_release
    from cvl_ci.wiring.overview import status
    from cvl_ci.wiring.sweep import clouds_named, reap

__all__ = [
    "THROUGH_SERVER",
    "OpenClouds",
    "carry_out",
    "cloud_access",
    "clouds_named",
    "credentials",
    "drill",
    "end",
    "environment",
    "forget_credentials",
    "goes_through_server",
    "has_credentials",
    "keep_details",
    "key_locks",
    "machine_types",
    "of_plan",
    "on_sandbox",
    "on_usable_clouds",
    "open_records",
    "post_state_path",
    "prices",
    "reap",
    "require_credentials",
    "run_logs",
    "sandbox_directory",
    "sandbox_was_left",
    "service_places",
    "set_up",
    "skypilot_catalogue",
    "status",
    "step_state_path",
    "until_release",
    "within_month",
]


_LIGHTEST_FIRST = ("directories", "access", "clouds", "sweep", "overview", "drilling", "one_run", "month")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Search the lightest modules first: a name in one of them imports none of the later ones."""
        for submodule in _LIGHTEST_FIRST if name in __all__ else ():
            module = importlib.import_module(f"cvl_ci.wiring.{submodule}")
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"module 'cvl_ci.wiring' has no attribute {name!r}")
