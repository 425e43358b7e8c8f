"""The program `cvl-ci`, with the modules that most verbs load later (tests/support/fork_server.py)."""

from __future__ import annotations

from cvl_ci.cli.main import main

__all__ = ["PRELOADED", "main"]

PRELOADED = (
    *("cvl_ci.commands.plan.build_run", "cvl_ci.commands.plan.estimate", "cvl_ci.commands.plan.quote"),
    *(
        "cvl_ci.commands.plan.quote_text",
        "cvl_ci.engine.task.task",
        "cvl_ci.local.git.checkout",
        "cvl_ci.sandbox.command",
    ),
    *("cvl_ci.clouds.registry", "cvl_ci.clouds.aws.credentials", "cvl_ci.clouds.aws.inventory"),
    *("cvl_ci.clouds.azure.credentials", "cvl_ci.clouds.azure.inventory", "cvl_ci.clouds.gcp.credentials"),
    *("cvl_ci.clouds.gcp.inventory", "cvl_ci.clouds.kubernetes.inventory", "cvl_ci.commands.plan.anywhere"),
    *("cvl_ci.clouds.composite", "cvl_ci.clouds.catalogue.prices", "cvl_ci.wiring.access", "cvl_ci.wiring.clouds"),
    *("cvl_ci.wiring.controlled_clouds", "cvl_ci.wiring.month", "cvl_ci.wiring.one_run", "cvl_ci.wiring.overview"),
)
