"""No test of an inventory waits for a provider that is only played."""

from __future__ import annotations

import pytest

from cvl_ci.engine.inventory import rest


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited, in seconds."""
    seconds: list[float] = []
    monkeypatch.setattr(rest, "sleep", seconds.append)
    return seconds
