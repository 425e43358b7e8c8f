"""Translate answers of SkyPilot and of machines: a failure, a job's own exit code, a spinner. Values, no SDK."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cvl_ci.engine import failed_mounts, fitness
from cvl_ci.engine import sky_refusals as refusals_of
from cvl_ci.engine.job_log import progress
from cvl_ci.engine.process import WorkerFailed
from cvl_ci.engine.sky_refusals import FailureKind
from cvl_ci.engine.whole_log import LogSum
from cvl_ci.errors import (
    NOTHING_STARTED,
    CapacityError,
    CredentialsError,
    CvlError,
    EngineError,
    QuotaError,
    RequestRefused,
)
from cvl_ci.inputs.parsers import MOST_TRIALS
from cvl_ci.model.node_end import CHECKPOINTS, IDLE, MOST_LEFT, RESULTS, GpuUse, NodeEnd
from cvl_ci.model.outcome import Phase
from cvl_ci.planning.trials import NAME
from cvl_ci.ports import Progress, Watch

END_LINES = 28 + MOST_LEFT + 2 * MOST_TRIALS
"""More lines than a node needs to report its end."""

LARGEST_PART = 64 << 20
"""The limit for a part of a log: machine/supervise.py stores parts of 32 MiB, and may exceed that by one read."""

_PHASES = (Phase.SETUP.value, CHECKPOINTS, RESULTS, IDLE)
"""The phases of an end that change its meaning. Any other is the job's."""
_SHOWN_LINES, _SHOWN_LETTERS, _SHOWN_REASONS = 3, 600, 3


class ProgressFilter:
    """Filter for SkyPilot's spinner, which repeats itself: each text passes once."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._passed: set[str] = set()

    def __call__(self, line: str) -> None:
        text = progress(line)
        if text and text not in self._passed:
            self._passed.add(text)
            self._watch(Progress(text=text))


def as_cvl_error(failure: WorkerFailed, *, refusals: Sequence[str] = (), was_requested: bool = True) -> CvlError:
    """Return the error that names the cause: see sky_refusals.py. `asked`: whether any request reached a provider."""
    kind = refusals_of.kind_of(failure, refusals=refusals, was_requested=was_requested)
    reasons = "; ".join(dict.fromkeys(_first_lines(text) for text in refusals[-_SHOWN_REASONS:]))
    first = reasons or _first_lines(failure.text) or failure.error
    money = "cvl-ci takes down all that it had started." if was_requested else NOTHING_STARTED
    if kind is FailureKind.REQUEST:
        return RequestRefused(
            f"The request cannot run: {first}",
            money=money,
            next_step="Correct the task or the inputs: the same request would fail again.",
        )
    if kind is FailureKind.QUOTA:
        return QuotaError(
            f"The cloud account's quota does not allow such a machine: {first}",
            money=money,
            next_step="Ask the cloud for more quota, or allow another cloud, region or accelerator.",
        )
    if kind is FailureKind.CREDENTIALS:
        return CredentialsError(
            f"The cloud refused our credentials: {first}", money=money, next_step="Run `cvl-ci check`."
        )
    if kind is FailureKind.CAPACITY:
        return CapacityError(
            "No machine was available: every place refused.",
            money="Nothing was left running and nothing more is billed.",
            next_step="Allow more places (cloud, region), another accelerator, or `spot: fallback`; or run it later.",
        )
    return EngineError(
        f"SkyPilot failed: {failure.error}: {_first_lines(failure.text) or failure.error}",
        money="cvl-ci takes down all that it had started.",
        next_step="The job did not cause this. Run it again. If it fails again, report it with the log.",
    )


def _first_lines(text: str) -> str:
    """Return the first lines of a message as one line, without its colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return " ".join(lines[:_SHOWN_LINES])[:_SHOWN_LETTERS]


def ended_elsewhere() -> EngineError:
    """Return the error of a run that another process ended.

    A process in a frozen container sleeps through that. It must not wait for a machine that is gone.
    """
    return EngineError(
        "The lease of this run was ended by another process, `post` or `cvl-ci down`, before its machine was ready.",
        money="cvl-ci takes down all that exists of it.",
        next_step="Run it again if it should not have ended.",
    )


def lost_before_job() -> EngineError:
    """Return the error of a launch whose machines were gone before they had the job."""
    return EngineError(
        "The provider no longer shows all machines of this run, which had no job yet.",
        money="cvl-ci takes down all that is left of it. Its cost until now is in the summary.",
        next_step="Run it again.",
    )


def read_end(rank: int, text: str) -> NodeEnd:
    """Read a machine's report of its end, which counts only as small numbers.

    Without a report, the node did not live to write one.
    """
    lines = text.splitlines()[:END_LINES]
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    code = values.get("exit_code", "")
    phase = values.get("phase", "")
    ended_text = values.get("ended_ns", "")
    return NodeEnd(
        rank=rank,
        exit_code=int(code) if code.isdecimal() and len(code) <= 3 and int(code) <= 255 else None,
        timed_out=values.get("timed_out") == "1",
        phase=phase if phase in _PHASES else Phase.RUNNING.value,
        ended_at=int(ended_text) / 1e9 if ended_text.isdecimal() and len(ended_text) <= 20 else None,
        gpu=_gpu_use(values),
        trials=tuple(trial for line in lines if (trial := _trial(line)) is not None),
        base_exit_code=_count(values.get("base_failed")),
        left_behind=_left_names(lines),
        failed_mount=failed_mounts.read(values.get("mount", "")),
        state=fitness.read(values["fitness"]) if "fitness" in values else None,
    )


def read_sums(text: str) -> dict[str, LogSum]:
    """Return the sums of a node's logs, by their names. Invalid lines are skipped."""
    sums = {}
    for line in text.splitlines()[:END_LINES]:
        name, *numbers = line.removeprefix("log=").split(" ")
        counts = [_count(number, longest=15) for number in numbers]
        if line.startswith("log=") and len(counts) == 5 and None not in counts:
            count, crc, *newlines = (number or 0 for number in counts)
            sums[name] = LogSum(characters=count, crc=crc, dropped_lines=newlines[0])
    return sums


def read_sizes(text: str) -> list[tuple[str, int]]:
    """Return the parts of logs that a node can send, by name and bytes. Only known names and sensible sizes count."""
    sizes = {}
    for line in text.splitlines()[:END_LINES]:
        match = re.fullmatch(r"size=((?:setup|running)/(?:old|new)) +([0-9]{1,9})", line)
        if match and int(match[2]) <= LARGEST_PART:
            sizes[match[1]] = int(match[2])
    return list(sizes.items())


def _left_names(lines: Sequence[str]) -> tuple[str, ...]:
    names = [line.removeprefix("left=") for line in lines if line.startswith("left=")]
    return tuple(name for name in names if re.fullmatch(r"[A-Za-z0-9._+:/?-]{1,30}", name))[:MOST_LEFT]


def _trial(line: str) -> tuple[str, float] | None:
    name, _, took = line.removeprefix("sample=").partition(" ")
    nanoseconds = _count(took, longest=18)
    if not line.startswith("sample=") or not NAME.fullmatch(name) or nanoseconds is None:
        return None
    return name, nanoseconds / 1e9


def _gpu_use(values: Mapping[str, str]) -> GpuUse | None:
    memory, total, gpus = (_count(values.get(name)) for name in ("gpu_memory", "gpu_memory_total", "gpus"))
    if not gpus or memory is None or not total or memory > total:
        return None
    readings, busy, busiest = (_count(values.get(name)) for name in ("gpu_readings", "gpu_busy", "gpu_busiest"))
    is_utilization_known = (
        busy is not None and busiest is not None and busiest <= 100 and readings and busy <= 100 * readings
    )
    driver = values.get("gpu_driver", "")
    return GpuUse(
        gpus=gpus,
        memory_mib=memory,
        memory_total_mib=total,
        utilization=busy / readings if is_utilization_known and busy is not None and readings else None,
        utilization_peak=busiest if is_utilization_known else None,
        driver=driver if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}", driver) else "",
    )


def _count(text: str | None, *, longest: int = 12) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= longest else None
