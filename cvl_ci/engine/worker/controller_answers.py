"""Read what a SkyPilot API server tells about its own controllers' work: managed jobs, and services with replicas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sky import exceptions
from sky.client import sdk
from sky.utils.status_lib import ClusterStatus

from cvl_ci.engine.worker import sky_server

_LABELS = "cvl-ci-"


def requests(name: str | None, *, verbs: Sequence[str], field: str) -> list[dict[str, Any]]:
    """Return the requests for the work of this name that the server has not answered. Without a name, none.

    `verbs`: how their names end. `field`: where their body names the work.
    """
    answer = sky_server.list_of(sdk.api_status(all_status=False), of="requests") if name else []
    return [
        {
            "kind": "launch",
            "id": request.request_id,
            "state": request.status.lower(),
            "labels": {},
            "is_certain": _name_in(request.request_body, field) == name,
        }
        for request in answer
        if request.name.endswith(tuple(verbs))
        and request.status in sky_server.UNFINISHED
        and _name_in(request.request_body, field) in {name, None}
    ]


def is_without_work(error: exceptions.ClusterNotUpError, *, name: str | None) -> bool:
    """Return whether the controller of this error has no work. A server without a controller has never had any.

    A controller rests once it has no work (sky/skylet/events.py, AutostopEvent), but a person may stop it too. So a
    controller that rests proves nothing about the work of one name.
    """
    rests = name is None and error.cluster_status is ClusterStatus.STOPPED
    return error.cluster_status is None or rests


def lease_labels(labels: Mapping[Any, Any]) -> dict[str, str]:
    """Return the labels of a lease among these."""
    return {str(key): str(value) for key, value in labels.items() if str(key).startswith(_LABELS)}


def _name_in(body: str, field: str) -> str | None:
    """Return the name of the work for which a request asks. None: the server does not show it to this user."""
    try:
        values = json.loads(body)
    except ValueError:
        return None
    own = values.get(field) if isinstance(values, dict) else None
    return None if own is None else str(own)
