"""A night of a matrix, with a base and some nights before it: one of each kind of end. All of it is made up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.rules import Rules
from cvl_ci.result.benchmark.rules import read as read_rules
from tests.result.benchmark.legs import NIGHT, leg, never_started

BASE, HEAD = "b" * 40, "c" * 40
DAY = 86_400.0
RULES: Rules = read_rules(b"metrics: {time.running: {direction: lower, tolerance: 10%}}")

Said = dict[str, Any]

DIGITS: Said = {"example": "digits_sgd", "preset": "train"}
GPT: Said = {"example": "nanogpt", "preset": "train"}
ON_AWS: Said = {"cloud": "aws", "region": "us-east-1", "accelerators": {"L4": 1}, "hourly_usd": 0.8048}
ON_GCP: Said = {"cloud": "gcp", "region": "us-central1", "accelerators": {"L4": 1}, "hourly_usd": 0.7064}
ON_SPOT: Said = {**ON_AWS, "spot": True, "hourly_usd": 0.2414, "on_demand_hourly_usd": 0.8048}


def runs(name: str, *, seconds: float, accuracy: float, count: int, commit: str, at: float, **more: Any) -> list[Leg]:
    """Repeated, with a percent of noise that is the same each time."""
    dice = random.Random(f"{name} {seconds} {commit} {at}")
    found = []
    for turn in range(count):
        took = seconds * dice.gauss(1, 0.01)
        found.append(
            leg(
                **{
                    "cluster": f"cvl-{name}-{turn}-{commit[:4]}-{at:.0f}",
                    "commit": commit,
                    "at": at + 60 * turn,
                    "phases": {"provisioning": 61.5, "setup": 20.0, "running": round(took, 2)},
                    "duration_seconds": round(took + 95, 2),
                    "cost_usd": round((took + 95) / 3600 * more.get("hourly_usd", 0.8), 6),
                    "metrics": {
                        "accuracy": round(accuracy * dice.gauss(1, 0.002), 4),
                        "ndcg@10": round(0.4 * dice.gauss(1, 0.003), 4),
                        "model": "ridge",
                    },
                    **more,
                }
            )
        )
    return found


def night(commit: str = HEAD, *, at: float = NIGHT, slow: float = 1.2, count: int = 5) -> list[Leg]:
    """Clean on GCP, a fifth slower on AWS; one whose test fails, and four that never had a machine or lost it."""
    usual: Said = {"count": count, "commit": commit, "at": at}
    return [
        *runs("dig-aws", seconds=100 * slow, accuracy=0.95, **usual, **DIGITS, **ON_AWS),
        *runs("dig-gcp", seconds=104, accuracy=0.95, **usual, **DIGITS, **ON_GCP),
        *runs("dig-spot", seconds=100, accuracy=0.95, **usual, **DIGITS, **ON_SPOT),
    ]


def failures(commit: str = HEAD, *, at: float = NIGHT) -> list[Leg]:
    usual: Said = {"commit": commit, "at": at}
    return [
        leg(
            cluster="cvl-gpt-aws",
            ending="failed",
            exit_code=7,
            reason="The job exited with code 7.",
            metrics={},
            **usual,
            **GPT,
            **ON_AWS,
        ),
        leg(
            **never_started(
                75, "No machine was available in 2 attempts: aws.", cluster="a", leg="gpt p5", **usual, **GPT
            )
        ),
        leg(
            **never_started(
                75, "VcpuLimitExceeded: You have requested more", cluster="b", leg="gpt p4d", **usual, **GPT
            )
        ),
        leg(**never_started(77, "AWS does not know these credentials.", cluster="c", leg="gpt key", **usual, **GPT)),
        leg(
            cluster="cvl-gpt-spot",
            ending="preempted",
            exit_code=75,
            reason="The spot machine was taken away: terminated",
            metrics={},
            recoveries=[
                {"number": 1, "lost": "preempted", "resumed_at": "2026-09-21T14:05:00Z"},
                {"number": 2, "lost": "preempted", "resumed_at": None},
            ],
            **usual,
            **GPT,
            **ON_SPOT,
        ),
    ]


def history(nights: int = 6) -> Sequence[Leg]:
    """The base, five times measured, and nights before it of other code, one of them an outlier."""
    before = [
        one
        for back in range(nights, 0, -1)
        for one in night(f"{back:x}" * 40, at=NIGHT - back * DAY, slow=3.0 if back == 4 else 1.0, count=1)
    ]
    return [*before, *night(BASE, at=NIGHT - DAY / 2, slow=1.0)]
