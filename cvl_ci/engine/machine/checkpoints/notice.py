"""Ask the machine's own metadata service whether the provider will take the machine away soon.

SkyPilot 0.14.1 has a hook for that, and no code that fires it on virtual machines. So cvl-ci asks by itself. A program
for the machine's own Python.
"""

from __future__ import annotations

import calendar
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

SECONDS = 2.0
"""The service is on the machine's own host."""
MOST_BYTES = 64 << 10
LEAST_SECONDS = {"aws": 120.0, "gcp": 30.0, "azure": 30.0}
"""Between the notice and the end. AWS: EC2 User Guide, "Spot Instance interruption notices". GCP: "Spot VMs",
preemption process. Azure: "Scheduled Events for Linux VMs", event type Preempt.
"""
_AWS = "http://169.254.169.254/latest"
_GCP = "http://metadata.google.internal/computeMetadata/v1/instance/preempted"
_AZURE = "http://169.254.169.254/metadata/scheduledevents?api-version=2020-07-01"
_ENDINGS = frozenset({"terminate", "stop", "hibernate"})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow nothing: only the service itself tells of an end."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def ask(url: str, headers: Mapping[str, str], method: str = "GET") -> str | None:
    """Return the answer, or None without one. AWS answers 404 as long as there is no notice."""
    request = urllib.request.Request(url, headers=dict(headers), method=method)  # noqa: S310  fixed addresses
    try:
        with _OPENER.open(request, timeout=SECONDS) as answer:
            return str(answer.read(MOST_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError):
        return None


def seconds_left(cloud: str, *, now: float | None = None, get: Callable[..., str | None] = ask) -> float | None:
    """Return the seconds until the provider takes the machine. None: no notice, or no answer.

    `now`: epoch seconds.
    """
    moment = time.time() if now is None else now
    if cloud == "aws":
        return _on_aws(moment, get)
    if cloud == "gcp":
        is_preempted = (get(_GCP, {"Metadata-Flavor": "Google"}) or "").strip() == "TRUE"
        return LEAST_SECONDS["gcp"] if is_preempted else None
    return _on_azure(moment, get) if cloud == "azure" else None


def _on_aws(now: float, get: Callable[..., str | None]) -> float | None:
    token = get(f"{_AWS}/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    if token is None:
        return None
    answer = get(f"{_AWS}/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token.strip()})
    document = _object(answer)
    if document.get("action") not in _ENDINGS:
        return None
    return _until(document.get("time"), "%Y-%m-%dT%H:%M:%SZ", now, most=LEAST_SECONDS["aws"])


def _on_azure(now: float, get: Callable[..., str | None]) -> float | None:
    events = _object(get(_AZURE, {"Metadata": "true"})).get("Events")
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict) and event.get("EventType") == "Preempt":
            return _until(event.get("NotBefore"), "%a, %d %b %Y %H:%M:%S GMT", now, most=LEAST_SECONDS["azure"])
    return None


def _until(text: object, form: str, now: float, *, most: float) -> float:
    """Return the seconds until a moment in UTC, at most the provider's own term: the machine's clock may be wrong."""
    try:
        moment = calendar.timegm(time.strptime(str(text), form))
    except (ValueError, OverflowError):
        return most
    return min(most, max(0.0, moment - now))


def _object(text: str | None) -> Mapping[str, object]:
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
