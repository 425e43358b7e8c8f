"""The cost that a run tells, against the emulator's own clock: its machines' launch and end, by AWS's rules of billing.

The emulator dates its machines apart from the answers of EC2 that cvl-ci reads. Prices are those of the catalogue.
With TOLD_INTO=FILE each comparison is a record in FILE, and docs/costs.md has the table of all records.
"""

from __future__ import annotations

import calendar
import json
import math
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox
from tests.support.provider_meter import Meter

HERE = Path(__file__).parent / "records"
DISK_GB = 100
"""The disk of a run that asks for no other size."""
TASK_DISK_GB = 256
"""SkyPilot's disk of a task that names none (sky/resources.py, `DEFAULT_DISK_SIZE_GB`)."""
TRAFFIC_GB = 0.09
"""AWS's dollars for a GB that leaves it."""
ONE_PERCENT = 0.01


@dataclass(frozen=True, kw_only=True)
class ToldCost:
    """A record of one run. `case`: how it ended. `seconds`: each machine's life. `at`: the day, UTC."""

    case: str
    seconds: tuple[float, ...]
    told_usd: float
    metered_usd: float
    test: str
    at: str


def assert_told_as_metered(
    told: Mapping[str, Any],
    sandbox: Sandbox,
    *,
    case: str,
    disk_gb: float = DISK_GB,
    taken: Collection[str] = (),
    slack_seconds: float = 0.0,
) -> None:
    """Assert that the cost in a summary is within 1 % of the meter. `taken`: machines that the provider took.

    `slack_seconds`: how many more seconds the ledger itself grants.
    """
    assert not told["released"].get("kept_until"), "a machine that lives on has no last figure"
    meter = _metered(told, sandbox, disk_gb=disk_gb, taken=taken)
    _note(told, meter, case=case)
    second_usd = sum(entry["usd"] / entry["billed_seconds"] for entry in told["ledger"] if entry["billed_seconds"])
    allowed = max(ONE_PERCENT * _usd(told, meter), (slack_seconds + 1) * second_usd if slack_seconds else 0.0)
    assert (told["cost_usd"] or 0.0) == pytest.approx(_usd(told, meter), abs=allowed), told["ledger"]


def assert_kept_as_metered(told: Mapping[str, Any], sandbox: Sandbox, *, case: str, disk_gb: float = DISK_GB) -> None:
    """Assert that a kept machine's largest cost is what the meter shows at the end in its label, and its cost so far.

    The summary names its own moment in whole seconds.
    """
    released = told["released"]
    [machine] = [each for each in sandbox.status().instances if each.tags.get("cvl-ci-lease") == told["cluster"]]
    last = _metered(told, sandbox, disk_gb=disk_gb, until=float(machine.tags["cvl-ci-deadline"]))
    _note(told, last, case=case)
    assert told["cost_usd"] == pytest.approx(_usd(told, last), rel=ONE_PERCENT), told["ledger"]
    now = _metered(told, sandbox, disk_gb=disk_gb, until=_moment(released["at"]))
    [lived] = _lives(now)
    allowed = max(ONE_PERCENT, 1.5 / lived)
    assert told["cost_usd"] - released["kept_usd"] == pytest.approx(_usd(told, now), rel=allowed), told["ledger"]


def metered_usd(
    told: Mapping[str, Any], sandbox: Sandbox, *, disk_gb: float = DISK_GB, taken: Collection[str] = ()
) -> float:
    """Return the price of a run's machines by the emulator's own times, and of the files that it fetched."""
    return _usd(told, _metered(told, sandbox, disk_gb=disk_gb, taken=taken))


def read(paths: Iterable[Path]) -> list[ToldCost]:
    """Return the latest record of each case."""
    latest: dict[str, ToldCost] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            latest[values["case"]] = ToldCost(**{**values, "seconds": tuple(values["seconds"])})
    return sorted(latest.values(), key=lambda record: record.case)


def table(records: Iterable[ToldCost]) -> str:
    lines = ["| ending | machines | the meter | told | test | day |", "|---|---|---|---|---|---|"]
    for one in records:
        lives = " + ".join(f"{seconds:.0f} s" for seconds in one.seconds) or "none"
        share = 100 * (one.told_usd / one.metered_usd - 1) if one.metered_usd else 0.0
        told = f"${one.told_usd:.5f} ({share:+.2f} %)".replace("-0.00 %", "0.00 %").replace("+0.00 %", "0.00 %")
        test = one.test.partition("::")[0]
        lines.append(f"| {one.case} | {lives} | ${one.metered_usd:.5f} | {told} | `{test}` | {one.at} |")
    return "\n".join(lines) + "\n"


def _metered(
    told: Mapping[str, Any],
    sandbox: Sandbox,
    *,
    disk_gb: float,
    taken: Collection[str] = (),
    until: float = math.inf,
) -> Meter:
    status = sandbox.status()
    assert status.up
    meter = Meter(month_hours=calendar.monthrange(*time.gmtime()[:2])[1] * 24)
    prices = {(row.name, row.region): row for row in wiring.machine_types()}
    for machine in status.instances:
        if machine.tags.get("cvl-ci-lease") != told["cluster"]:
            continue
        row = prices[machine.instance_type, machine.region]
        hourly = row.spot_hourly_usd if machine.spot else row.hourly_usd
        assert hourly, machine
        ended = math.inf if machine.ended_at is None else _moment(machine.ended_at)
        assert min(ended, until) < math.inf, machine
        meter.start(machine.id, hourly_usd=hourly, disk_gb=disk_gb, spot=machine.spot, now=_moment(machine.launched_at))
        meter.stop(machine.id, now=min(ended, until), taken=machine.id in taken)
    return meter


def _usd(told: Mapping[str, Any], meter: Meter) -> float:
    fetched_bytes: int = sum(each["bytes"] for each in told["files"])
    return meter.usd(0.0) + fetched_bytes / 1e9 * TRAFFIC_GB


def _lives(meter: Meter) -> list[float]:
    return [(machine.died or 0.0) - machine.born for machine in meter.machines.values()]


def _moment(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()


def _note(told: Mapping[str, Any], meter: Meter, *, case: str) -> None:
    into = os.environ.get("TOLD_INTO")
    if not into:
        return
    record = ToldCost(
        case=case,
        seconds=tuple(_lives(meter)),
        told_usd=told["cost_usd"] or 0.0,
        metered_usd=_usd(told, meter),
        test=os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0],
        at=time.strftime("%Y-%m-%d", time.gmtime()),
    )
    with Path(into).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")
