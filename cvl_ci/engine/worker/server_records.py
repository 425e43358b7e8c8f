"""Read a SkyPilot API server's records of a cluster: the machine of a launch under way, and the dates of past ones.

A line of the launch names only the place. Before that line, the server records the cluster with its machine
(sky/backends/cloud_vm_ray_backend.py, `_retry_zones`: `add_or_update_cluster`). The history of a cluster keeps that
machine, and the time of use (sky/core.py, `cost_report`), and its events keep the steps (`get_cluster_events`).
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sky.client import sdk
from sky.server import common as server_common
from sky.server.requests import payloads

from cvl_ci.engine.server.server_lines import place_of

Described = Callable[[Any], dict[str, Any]]
MOST_RECORDS = 100
MOST_EVENTS = 1000
_ASKED, _CAME_UP = "Provisioning on ", "Instances launched on "
"""The events before a request for machines (`_retry_zones`) and after it (sky/provision/provisioner.py)."""
_REMOVING, _UP = " terminated by ", "All nodes up"
"""The event before `down` (sky/core.py), and its last look at the machines (sky/backends/backend_utils.py)."""


class LaunchLines(io.TextIOBase):
    """Standard output of a launch. After each line about a place, a thread asks the server for the machine there."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask
        self._heard = threading.Event()
        self._is_over = False
        threading.Thread(target=self._follow, daemon=True).start()

    def write(self, text: str) -> int:
        sys.stdout.write(text)
        if place_of(text) is not None:
            self._heard.set()
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()

    def close(self) -> None:
        self._is_over = True
        self._heard.set()
        super().close()

    def _follow(self) -> None:
        while self._heard.wait() and not self._is_over:
            self._heard.clear()
            try:
                self._ask()
            except Exception:  # noqa: BLE001, S112  without a name, the quote's dearest offer bounds the cost
                continue


def recorded(cluster: str, described: Described, *, days: int = 2) -> list[dict[str, Any]]:
    """Return the machines requested under a name, one record for each launch, dated by the server's clock.

    The history keeps the last place of a launch. Its machines certainly came up only after their event. `days`: how
    long ago its last use may be.
    """
    return recorded_of([cluster], described, days=days)


def recorded_of(clusters: Sequence[str], described: Described, *, days: int) -> list[dict[str, Any]]:
    """Return the same for several names."""
    machines = [_machine(record, described) for record in _history(*clusters, days=days)]
    return [machine for machine in machines if machine is not None]


def are_known(clusters: Sequence[str], *, days: int) -> bool:
    """Return whether the server has a record of any of these clusters."""
    return bool(_history(*clusters, days=days))


def living(clusters: Sequence[str], *, days: int) -> list[str]:
    """Return those of the clusters whose latest launch the server's own records have not ended."""
    ends_by_name: dict[str, list[float | None]] = {}
    for record in _history(*clusters, days=days):
        if intervals := record.get("usage_intervals") or []:
            ends_by_name.setdefault(record["name"], []).append(intervals[-1][1])
    return [name for name, moments in ends_by_name.items() if None in moments]


def ends(cluster: str, *, days: int) -> list[float | None]:
    """Return the end of each launch in the server's own records; None for a launch that it has not ended."""
    records = [record.get("usage_intervals") or [] for record in _history(cluster, days=days)]
    return [intervals[-1][1] for intervals in records if intervals]


def _history(*clusters: str, days: int) -> list[dict[str, Any]]:
    records = _answer("/cost_report", payloads.CostReportBody(days=days, cluster_names=list(clusters)))
    return [record for record in records[: MOST_RECORDS * len(clusters)] if record.get("name") in clusters]


def _machine(record: dict[str, Any], described: Described) -> dict[str, Any] | None:
    body = payloads.ClusterEventsBody(
        cluster_hash=record["cluster_hash"], event_type="STATUS_CHANGE", include_timestamps=True, limit=MOST_EVENTS
    )
    steps = _steps(_answer("/cluster_events", body))
    intervals, resources = record.get("usage_intervals") or [], record.get("resources")
    if steps.asked_at is None or not intervals or resources is None:
        return None
    values = described(resources)
    names = ("cloud", "region", "instance_type", "spot")
    start, start_slack = _middle(steps.asked_at, steps.came_up_at)
    end, end_slack = _middle(steps.removing_at, intervals[-1][1])
    return {
        **{name: values[name] for name in names},
        "hourly_usd": values["hourly_usd"] or _hourly_usd(record),
        "nodes": int(record["num_nodes"]),
        "came_up": steps.came_up_at is not None,
        "start": start,
        "end": None if intervals[-1][1] is None else end,
        "slack": start_slack + (0.0 if intervals[-1][1] is None else end_slack),
    }


def _hourly_usd(record: dict[str, Any]) -> float | None:
    """Return the price of one machine by the server's catalogue. This computer may have none."""
    machine_seconds = (record.get("duration") or 0) * (record.get("num_nodes") or 0)
    total_usd = record.get("total_cost") or 0.0
    return total_usd * 3600 / machine_seconds if machine_seconds and total_usd else None


@dataclass(kw_only=True)
class _Steps:
    """The last steps of a cluster, in epoch seconds. `removing_at`: the last moment at which it was there."""

    asked_at: float | None = None
    came_up_at: float | None = None
    removing_at: float | None = None


def _steps(events: list[dict[str, Any]]) -> _Steps:
    steps = _Steps()
    for event in events:
        reason, moment = str(event["reason"]), float(event["transitioned_at"])
        if reason.startswith(_ASKED):
            steps = _Steps(asked_at=moment)
        elif reason.startswith(_CAME_UP):
            steps.came_up_at = moment
        elif _REMOVING in reason or (steps.removing_at is not None and reason.startswith(_UP)):
            steps.removing_at = moment
    return steps


def _middle(first: float | None, last: float | None) -> tuple[float, float]:
    """Return the middle of two moments, and the most that it is wrong. A single moment is exact, as far as we know."""
    moments = [moment for moment in (first, last) if moment is not None] or [0.0]
    return (min(moments) + max(moments)) / 2, (max(moments) - min(moments)) / 2


def _answer(path: str, body: payloads.RequestBody) -> list[dict[str, Any]]:
    """Return the answer to a request for which the client's SDK has no function with these words."""
    response = server_common.make_authenticated_request("POST", path, json=json.loads(body.model_dump_json()))
    request: server_common.RequestId[Any] = server_common.get_request_id(response)
    answer = sdk.get(request)
    if not isinstance(answer, list):
        raise TypeError(f"the API server's answer to {path} is a {type(answer).__name__} and not a list")
    return answer
