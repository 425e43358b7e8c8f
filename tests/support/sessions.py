"""An engine's session whose machines were launched by a worker of the test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvl_ci.engine.session import LaunchedMachines, Session
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports import Clock, LaunchRequest


def launched(
    worker: Any,
    plan: RunPlan,
    *,
    clock: Clock,
    staged: Path,
    cluster: str = "c",
    seconds: float = 3600.0,
    num_nodes: int = 1,
    spot: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Session:
    """Return a session whose machines run the plan's job. `seconds`: until their deadline."""
    session = Session(environment=environment or {}, clock=clock)
    session._worker = worker
    request = LaunchRequest(
        plan=plan,
        cluster=cluster,
        labels={},
        staged=staged,
        deadline=clock.now() + seconds,
        fence=staged / "fence",
    )
    session.note_launch(LaunchedMachines(request=request, num_nodes=num_nodes, spot=spot), job_id=1, plan=plan)
    return session
