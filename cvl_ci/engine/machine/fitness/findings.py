"""Findings about a machine, and the verdict that follows from them. A program for the machine's own Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HEALTHY, SLOW, BROKEN, UNKNOWN, NOTE = "healthy", "slow", "broken", "unknown", "note"
_WORST_FIRST = (BROKEN, UNKNOWN, SLOW)
MOST_FINDINGS = 20
LONGEST_TEXT = 200


@dataclass
class Findings:
    """Facts that speak against a machine, and its figures. NOTE: a fact that changes no verdict."""

    items: list[tuple[str, str]] = field(default_factory=list)
    gpus: list[dict[str, Any]] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    driver: str = ""

    def add(self, kind: str, text: str) -> None:
        self.items.append((kind, " ".join(text.split())[:LONGEST_TEXT]))

    @property
    def verdict(self) -> str:
        """Return the worst kind. Without a finding the machine is healthy, because each step adds one if it fails."""
        kinds = {kind for kind, _ in self.items}
        return next((kind for kind in _WORST_FIRST if kind in kinds), HEALTHY)

    def as_json(self, *, seconds: float) -> dict[str, Any]:
        order = {kind: at for at, kind in enumerate((*_WORST_FIRST, NOTE))}
        ordered = sorted(self.items, key=lambda item: order[item[0]])
        return {
            "verdict": self.verdict,
            "findings": ordered[:MOST_FINDINGS],
            "driver": self.driver,
            "gpus": self.gpus,
            "host": self.host,
            "seconds": round(seconds, 2),
        }
