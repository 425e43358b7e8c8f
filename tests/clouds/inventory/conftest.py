"""No test of an inventory waits for a provider that is only played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cvl_ci.clouds import http


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited, in seconds."""
    seconds: list[float] = []
    monkeypatch.setattr(http, "BACKOFF", replace(http.BACKOFF, sleep=seconds.append))
    return seconds
