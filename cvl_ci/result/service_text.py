"""Express the facts of a service in a few words."""

from __future__ import annotations

from urllib.parse import urlsplit

from cvl_ci.model.service import ServiceResult, SmokeResult
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import duration


def smoke_line(smoke: SmokeResult) -> str:
    """Return the figures of the smoke requests in one line."""
    parts = [
        f"{smoke.requests} requests to {plain(smoke.path)}: status {smoke.status}",
        "JSON" if smoke.is_json else "",
        f"p50 {smoke.p50_seconds * 1000:.0f} ms, p95 {smoke.p95_seconds * 1000:.0f} ms",
        f"{smoke.tokens_per_second:.1f} tokens a second" if smoke.tokens_per_second else "",
        f"failed: {plain(smoke.problem)}" if smoke.problem else "",
        f"not as its schema: {plain(smoke.mismatch)}" if smoke.mismatch else "",
    ]
    return "; ".join(part for part in parts if part)


def dns_line(url: str, address: str) -> list[str]:
    """Return one line about the DNS of a service whose URL has a name; none where it has the address."""
    host = urlsplit(url).hostname or ""
    if not address or host == address:
        return []
    return [f"point {host} at {address}: an A record of its DNS"]


def service_lines(service: ServiceResult) -> list[str]:
    """Return the address of a service, and its first figures."""
    ready = f"{service.url}, which answered after {duration(service.ready_seconds)}"
    return [ready, *dns_line(service.url, service.address), *([smoke_line(service.smoke)] if service.smoke else [])]
