"""Read one leg of a matrix from its summary file, and write it as a line of a history. Pure.

The file came through artifacts that hold a machine's numbers. Every field is checked, and none is trusted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from cvl_ci.model.detached import LONGEST_SECONDS
from cvl_ci.model.loss import LossKind
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE, Ending, Measurements
from cvl_ci.model.paired_comparison import Change, PairedComparison
from cvl_ci.result.benchmark import machines
from cvl_ci.result.benchmark.leg import Evidence, Leg, LegCost, LegKey, LegMachines, LegSource
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.benchmark.readings import LONGEST, MOST, Collector, UnreadableReadings, finite, short
from cvl_ci.result.sanitize import encodable

LARGEST_BYTES = 8 << 20
MOST_WORDS = 300
LAST_LINES = 20
"""Lines of a failed job that a report shows."""
MOST_ATTEMPTS = 100
MOST_NODES = 10_000
LARGEST_AMOUNT = 1e12
"""In seconds or dollars; no run needs more."""

LATEST = 32_503_680_000.0
"""The year 3000. A later time is ignored: calendars end, in Python with the year 9999."""

LONGEST_KEPT_SECONDS = 86_400.0 + 3600.0
"""A day, and the time between the end of the job and its summary."""

_VERDICTS = {verdict.value for verdict in Verdict}
_ENDINGS = {ending.value: ending for ending in Ending}


def read(content: bytes) -> Leg:
    """Read a summary and drop each invalid field. Raises ValueError if the content is not a summary of a run."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"is larger than {LARGEST_BYTES >> 20} MiB")
    try:
        document = encodable(json.loads(content))
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict) or not ({"ending", "cluster"} & document.keys()):
        raise ValueError("is not a summary of a run")
    if _text(document.get("ending")) not in _ENDINGS:
        raise ValueError("has an unknown ending")
    return _leg(document)


def of_summary(document: Mapping[str, object]) -> Leg:
    """Return the leg of a summary that this process made (result/summary.py)."""
    return _leg(document)


def line(leg: Leg) -> str:
    """Return one line for the history, which `read` turns into the same leg. It holds only checked values."""
    key = leg.key
    fields: dict[str, object] = {
        "ending": leg.ending.value,
        "reason": leg.reason,
        "exit_code": leg.exit_code,
        "cluster": leg.machines.cluster,
        "turn": leg.machines.use if leg.machines.use > 1 else None,
        "uncounted_usd": leg.cost.uncounted_usd or None,
        "waited_usd": leg.cost.waited_usd or None,
        "leg": leg.name,
        "example": key.example,
        "preset": key.preset,
        "cloud": key.cloud,
        "region": leg.machines.region,
        "accelerators": dict(part.rpartition(":")[::2] for part in key.accelerator.split(",") if part),
        "instance_type": key.instance_type,
        "num_nodes": key.nodes or None,
        "spot": key.spot,
        "driver": key.driver,
        "image": key.image,
        "gpus": machines.as_json(key.gpus) or None,
        "commit": leg.source.commit,
        "run_url": leg.source.run_url,
        "job": leg.source.job,
        "workflow": leg.source.workflow,
        "at": leg.source.at,
        "is_sweep": leg.source.is_sweep or None,
        "duration_seconds": leg.seconds or None,
        "cost_usd": leg.cost.usd,
        "hourly_usd": leg.cost.hourly_usd,
        "on_demand_hourly_usd": leg.cost.on_demand_hourly_usd,
        "billed": leg.cost.billed,
        "is_dearer": leg.machines.is_dearer or None,
        "recovery_count": leg.machines.recoveries,
        "released": {
            "gone": leg.machines.is_gone,
            **({"kept_until": leg.machines.kept_until} if leg.machines.kept_until else {}),
            **({"kept_usd": leg.cost.kept_usd} if leg.cost.kept_usd else {}),
        },
        "metrics": dict(leg.measurements.metrics),
        "samples": {name: list(values) for name, values in leg.measurements.samples.items()},
    }
    return json.dumps({name: value for name, value in fields.items() if value not in (None, "", {})}, allow_nan=False)


def _leg(document: Mapping[str, object]) -> Leg:
    released, reuse = _mapping(document.get("released")), _mapping(document.get("reuse"))
    attempts = [_mapping(attempt) for attempt in _list(document.get("attempts"))[:MOST_ATTEMPTS]]
    metrics, samples = _metrics(document)
    code = document.get("exit_code")
    return Leg(
        key=_key(document, attempts),
        ending=_ENDINGS[_text(document.get("ending"))],
        reason=_text(document.get("reason"), most=MOST_WORDS),
        exit_code=code if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 256 else 70,
        machines=LegMachines(
            cluster=_text(document.get("cluster")),
            use=_use(document),
            region=_text(document.get("region")),
            is_gone=released.get("gone") is True,
            kept_until=_kept_until(document, released),
            is_dearer=document.get("is_dearer") is True or _is_dearer(attempts),
            recoveries=_recoveries(document),
            requested_locations=tuple(dict.fromkeys(_place(attempt) for attempt in attempts)),
            errors="\n".join(_text(text, most=MOST_WORDS) for text in (document.get("reason"), *_errors(attempts))),
        ),
        name=_text(document.get("leg")),
        source=LegSource(
            commit=_text(document.get("commit")),
            run_url=_web_address(document.get("run_url")),
            job=_text(document.get("job")),
            workflow=_text(document.get("workflow")),
            check_run=number if (number := _text(document.get("check_run"))).isascii() and number.isdecimal() else "",
            at=_epoch(document.get("at")) or _moment(released.get("at")),
            is_sweep=document.get("is_sweep") is True,
        ),
        evidence=_evidence(document),
        seconds=_amount(document.get("duration_seconds")) or 0.0,
        cost=LegCost(
            usd=_amount(document.get("cost_usd")),
            kept_usd=_amount(released.get("kept_usd")) or 0.0,
            uncounted_usd=_amount(reuse.get("uncounted_usd")) or _amount(document.get("uncounted_usd")) or 0.0,
            waited_usd=_amount(reuse.get("idle_usd")) or _amount(document.get("waited_usd")) or 0.0,
            hourly_usd=_amount(document.get("hourly_usd")),
            on_demand_hourly_usd=_amount(document.get("on_demand_hourly_usd")),
            billed=document.get("billed") is not False,
        ),
        measurements=Measurements(
            metrics=metrics, samples=samples, comparison=_paired_base(_mapping(document.get("comparison")))
        ),
    )


def _kept_until(document: Mapping[str, object], released: Mapping[str, object]) -> float:
    """Return the moment until which a person keeps the machines; 0 where they are gone, or where it is not credible.

    A day is the longest (inputs/parsers.py), but for a machine that has its job. A run with kept machines does not exit
    as one with a leak.
    """
    longest = LONGEST_SECONDS if document.get("ending") == Ending.DETACHED.value else LONGEST_KEPT_SECONDS
    until, at = _moment(released.get("kept_until")), _epoch(document.get("at")) or _moment(released.get("at"))
    is_known = released.get("gone") is not True and document.get("exit_code") != EXIT_NOT_PROVED_GONE
    return until if is_known and at < until <= at + longest else 0.0


def _evidence(document: Mapping[str, object]) -> Evidence:
    return Evidence(
        first_error=_text(document.get("first_error"), most=MOST_WORDS),
        last_lines=tuple(_text(one, most=MOST_WORDS) for one in _list(document.get("last_lines"))[-LAST_LINES:]),
        artifact_url=_web_address(document.get("artifact_url")),
    )


def _key(document: Mapping[str, object], attempts: Sequence[Mapping[str, object]]) -> LegKey:
    """Return the key. Without a launch, the last requested machine gives cloud and accelerator."""
    last = attempts[-1] if attempts else {}
    title = _text(document.get("title"))
    example, _, preset = title.rpartition(" ") if " " in title else (title, "", "")
    accelerators = _mapping(document.get("accelerators") or last.get("accelerators"))
    spot = document.get("spot") if document.get("spot") is not None else last.get("spot")
    return LegKey(
        example=_text(document.get("example")) or example or _text(document.get("cluster")) or "?",
        preset=_text(document.get("preset")) or preset,
        accelerator=",".join(sorted(f"{_word(name)}:{_word(count)}" for name, count in accelerators.items())),
        cloud=_text(document.get("cloud")) or _text(last.get("cloud")),
        instance_type=_text(document.get("instance_type")) or _text(last.get("instance_type")),
        nodes=_nodes(document.get("num_nodes")),
        spot=spot is True,
        driver=_text(document.get("driver")),
        image=_text(document.get("image")),
        warm=_use(document) > 1,
        gpus=machines.gpus_of(document),
    )


def _use(document: Mapping[str, object]) -> int:
    """Return the number of the run among those that used its machine in turn."""
    return _nodes(_mapping(document.get("reuse")).get("number")) or _nodes(document.get("turn")) or 1


def _metrics(document: Mapping[str, object]) -> tuple[dict[str, object], dict[str, tuple[float, ...]]]:
    """Return metrics and samples.

    cvl-ci's own metrics come first: an example with many numbers cannot displace them.
    """
    collector = Collector()
    for name, seconds in list(_mapping(document.get("phases")).items())[:20]:
        collector.add(f"time.{name}", seconds)
    collector.add("time.all", document.get("duration_seconds"))
    # The time for which a person keeps a machine is not a cost of the work, so it is not compared.
    usd, kept_usd = _amount(document.get("cost_usd")), _amount(_mapping(document.get("released")).get("kept_usd"))
    collector.add("cost_usd", max(usd - kept_usd, 0.0) if usd is not None and kept_usd else document.get("cost_usd"))
    gpu = _mapping(document.get("gpu"))
    for name in ("memory_mib", "utilization", "utilization_peak"):
        if _amount(gpu.get(name)) is not None:
            collector.add(f"gpu.{name}", gpu[name])
    with suppress(UnreadableReadings):  # deeper than any real file: the metrics read so far stay
        collector.flatten(_mapping(document.get("metrics")), null=True)
    for name, values in _mapping(document.get("samples")).items():
        collector.add_samples(str(name), _list(values))
    readings = collector.readings()
    return dict(readings.metrics), dict(readings.samples)


def _paired_base(document: Mapping[str, object]) -> PairedComparison | None:
    """Return the comparison, or the reason why there is none. None if the summary holds neither."""
    changes = [_change(_mapping(one)) for one in _list(document.get("changes"))[:MOST]]
    known_changes = tuple(change for change in changes if change is not None)
    reason = "" if known_changes else _text(document.get("reason"), most=MOST_WORDS)
    if not known_changes and not reason:
        return None
    ref, commit = _text(document.get("ref")), _text(document.get("commit"))
    return PairedComparison(ref=ref, commit=commit, changes=known_changes, reason=reason)


def _change(document: Mapping[str, object]) -> Change | None:
    metric, verdict = _text(document.get("metric")), _text(document.get("verdict"))
    values = [document.get(side) for side in ("head", "base")]
    head, base = (one if isinstance(one, bool) else finite(one) for one in values)
    is_odd = any(one is not None and value is None for one, value in zip(values, (head, base), strict=True))
    if not metric or is_odd or verdict not in _VERDICTS or (head is None and base is None and verdict != "unsure"):
        return None
    return Change(
        metric=metric,
        head=head,
        base=base,
        change=finite(document.get("change")),
        verdict=verdict,
        why=_text(document.get("why")),
        gated=document.get("gated") is not False,
    )


def _word(value: object) -> str:
    """Return a part of `L4:1,T4:2` without a comma or colon."""
    text = f"{value:g}" if isinstance(value, float) else _text(value) or "?"
    return short(text.replace(",", "·").replace(":", "·"), most=40).strip()


def _is_dearer(attempts: Sequence[Mapping[str, object]]) -> bool:
    """Return whether the last attempt got a machine that costs more than the first, which was refused."""
    if len(attempts) < 2 or not attempts[0].get("error") or attempts[-1].get("error"):
        return False
    first, last = _amount(attempts[0].get("hourly_usd")), _amount(attempts[-1].get("hourly_usd"))
    return first is not None and last is not None and last > first


def _recoveries(document: Mapping[str, object]) -> int | None:
    """Return how many losses of machines ended with a new one, or None if the summary does not know it.

    Machines that cvl-ci gave back as broken were not lost. A summary without a launch may be that of post, which does
    not know what happened before.
    """
    losses = document.get("recoveries")
    if not isinstance(losses, list):
        count = document.get("recovery_count")
        return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MOST_ATTEMPTS else None
    if not losses and not _text(document.get("region")):
        return None
    known_losses = map(_mapping, losses[:MOST_ATTEMPTS])
    return sum(one.get("lost") != LossKind.UNFIT.value and one.get("resumed_at") is not None for one in known_losses)


def _errors(attempts: Sequence[Mapping[str, object]]) -> list[object]:
    return [attempt.get("error") for attempt in attempts]


def _place(attempt: Mapping[str, object]) -> str:
    parts = (_text(attempt.get("cloud")), _text(attempt.get("zone")) or _text(attempt.get("region")))
    return "/".join(part for part in parts if part)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _text(value: object, *, most: int = LONGEST) -> str:
    return short(str(value), most=most) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _amount(value: object) -> float | None:
    number = finite(value)
    return number if number is not None and 0 <= number <= LARGEST_AMOUNT else None


def _nodes(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_NODES else 0


def _epoch(value: object) -> float:
    """Return seconds since 1970, or 0 if the value is not a valid time of a run."""
    number = _amount(value)
    return number if number is not None and number < LATEST else 0.0


def _moment(value: object) -> float:
    """Return epoch seconds from a text that `units.moment` wrote."""
    if not isinstance(value, str):
        return _epoch(value)
    try:
        return _epoch(datetime.fromisoformat(value[:LONGEST].replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError, OSError):
        return 0.0


def _web_address(value: object) -> str:
    """Return an address that is safe in a Markdown link: no character of it can leave the parentheses."""
    text = _text(value, most=300).replace(" ", "")
    return text if text.startswith(("https://", "http://")) and not set(text) & set("()<>[]\"'\\`|{}") else ""
