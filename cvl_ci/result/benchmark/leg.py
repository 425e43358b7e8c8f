"""Read one leg of a matrix from its summary file: the example, the machine, the ending, the metrics. Pure.

The file came through artifacts that hold a machine's numbers. Every field is checked, and none is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cvl_ci.model.outcome import Change, Ending, PairedComparison
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.benchmark.readings import LONGEST, MOST, Collector, Unreadable, finite, short
from cvl_ci.result.benchmark.sides import numbers_of
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

_ATTEMPT = re.compile(r"/attempts/([0-9]{1,9})$")
_VERDICTS = {verdict.value for verdict in Verdict}
_ENDINGS = {ending.value: ending for ending in Ending}


@dataclass(frozen=True, kw_only=True)
class Key:
    """Parts that must be equal before numbers may be compared.

    Empty, or 0 nodes: the summary does not name the part.
    """

    example: str
    preset: str = ""
    accelerator: str = ""
    cloud: str = ""
    instance_type: str = ""
    nodes: int = 0
    spot: bool = False
    driver: str = ""
    image: str = ""

    @property
    def place(self) -> str:
        """`aws L4:1 g6.xlarge 2 nodes spot`."""
        nodes = f"{self.nodes} nodes" if self.nodes > 1 else ""
        spot = "spot" if self.spot else ""
        words = (self.cloud, self.accelerator or "CPU", self.instance_type, nodes, spot, self.driver, self.image)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The cause of a failed job: the line that names its error, its last lines, the artifact with its whole log."""

    first_error: str = ""
    last_lines: tuple[str, ...] = ()
    artifact_url: str = ""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One leg.

    `metrics`: the example's own, and those that every run measures (`time.running`, `cost_usd`). `samples`: of metrics
    with more than one sample. `at`: epoch seconds, 0 if the summary has no time.
    """

    key: Key
    ending: Ending
    reason: str
    exit_code: int
    cluster: str = ""
    name: str = ""
    region: str = ""
    commit: str = ""
    run_url: str = ""
    job: str = ""
    """The workflow's job, as GitHub names it without a `name:` in the workflow."""
    check_run: str = ""
    """GitHub's number of that job in its attempt."""
    evidence: Evidence = field(default_factory=Evidence)
    at: float = 0.0
    seconds: float = 0.0
    usd: float | None = None
    hourly_usd: float | None = None
    on_demand_hourly_usd: float | None = None
    billed: bool = True
    is_gone: bool = True
    requested_places: tuple[str, ...] = ()
    """Places of the requested machines: only these identify a leg that never started."""
    errors: str = ""
    """All texts of providers and of the reason about a failed start, for a search and not for display."""
    metrics: Mapping[str, object] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    paired_base: PairedComparison | None = None
    """Comparison with its base on its own machine, where the two ran in turn."""

    @property
    def job_url(self) -> str:
        """Return the page of the job that wrote this, or of its run where the job's number is unknown."""
        run = _ATTEMPT.sub("", self.run_url)
        return f"{run}/job/{self.check_run}" if self.run_url and self.check_run else self.run_url

    @property
    def attempt(self) -> int:
        """Return the attempt of the workflow's run. A run that names none was the first."""
        number = _ATTEMPT.search(self.run_url)
        return int(number[1]) if number else 1

    def measured(self, name: str) -> tuple[float, ...]:
        """Return all samples of a metric, or its one value if it has no samples."""
        return numbers_of(name, self)


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


def line(leg: Leg) -> str:
    """Return one line for the history, which `read` turns into the same leg. It holds only checked values."""
    key = leg.key
    fields: dict[str, object] = {
        "ending": leg.ending.value,
        "reason": leg.reason,
        "exit_code": leg.exit_code,
        "cluster": leg.cluster,
        "leg": leg.name,
        "example": key.example,
        "preset": key.preset,
        "cloud": key.cloud,
        "region": leg.region,
        "accelerators": dict(part.rpartition(":")[::2] for part in key.accelerator.split(",") if part),
        "instance_type": key.instance_type,
        "num_nodes": key.nodes or None,
        "spot": key.spot,
        "driver": key.driver,
        "image": key.image,
        "commit": leg.commit,
        "run_url": leg.run_url,
        "at": leg.at,
        "duration_seconds": leg.seconds or None,
        "cost_usd": leg.usd,
        "hourly_usd": leg.hourly_usd,
        "on_demand_hourly_usd": leg.on_demand_hourly_usd,
        "billed": leg.billed,
        "released": {"gone": leg.is_gone},
        "metrics": dict(leg.metrics),
        "samples": {name: list(values) for name, values in leg.samples.items()},
    }
    return json.dumps({name: value for name, value in fields.items() if value not in (None, "", {})}, allow_nan=False)


def _leg(document: Mapping[str, object]) -> Leg:
    released = _mapping(document.get("released"))
    attempts = [_mapping(attempt) for attempt in _list(document.get("attempts"))[:MOST_ATTEMPTS]]
    metrics, samples = _metrics(document)
    code = document.get("exit_code")
    return Leg(
        key=_key(document, attempts),
        ending=_ENDINGS[_text(document.get("ending"))],
        reason=_text(document.get("reason"), most=MOST_WORDS),
        exit_code=code if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 256 else 70,
        cluster=_text(document.get("cluster")),
        name=_text(document.get("leg")),
        region=_text(document.get("region")),
        commit=_text(document.get("commit")),
        run_url=_web_address(document.get("run_url")),
        job=_text(document.get("job")),
        evidence=_evidence(document),
        check_run=number if (number := _text(document.get("check_run"))).isascii() and number.isdecimal() else "",
        at=_epoch(document.get("at")) or _moment(released.get("at")),
        seconds=_amount(document.get("duration_seconds")) or 0.0,
        usd=_amount(document.get("cost_usd")),
        hourly_usd=_amount(document.get("hourly_usd")),
        on_demand_hourly_usd=_amount(document.get("on_demand_hourly_usd")),
        billed=document.get("billed") is not False,
        is_gone=released.get("gone") is True,
        requested_places=tuple(dict.fromkeys(_place(attempt) for attempt in attempts)),
        errors="\n".join(_text(text, most=MOST_WORDS) for text in (document.get("reason"), *_errors(attempts))),
        metrics=metrics,
        samples=samples,
        paired_base=_paired_base(_mapping(document.get("beside"))),
    )


def _evidence(document: Mapping[str, object]) -> Evidence:
    return Evidence(
        first_error=_text(document.get("first_error"), most=MOST_WORDS),
        last_lines=tuple(_text(one, most=MOST_WORDS) for one in _list(document.get("last_lines"))[-LAST_LINES:]),
        artifact_url=_web_address(document.get("artifact_url")),
    )


def _key(document: Mapping[str, object], attempts: Sequence[Mapping[str, object]]) -> Key:
    """Return the key. Without a launch, the last requested machine gives cloud and accelerator."""
    last = attempts[-1] if attempts else {}
    title = _text(document.get("title"))
    example, _, preset = title.rpartition(" ") if " " in title else (title, "", "")
    accelerators = _mapping(document.get("accelerators") or last.get("accelerators"))
    spot = document.get("spot") if document.get("spot") is not None else last.get("spot")
    return Key(
        example=_text(document.get("example")) or example or _text(document.get("cluster")) or "?",
        preset=_text(document.get("preset")) or preset,
        accelerator=",".join(sorted(f"{_word(name)}:{_word(count)}" for name, count in accelerators.items())),
        cloud=_text(document.get("cloud")) or _text(last.get("cloud")),
        instance_type=_text(document.get("instance_type")) or _text(last.get("instance_type")),
        nodes=_nodes(document.get("num_nodes")),
        spot=spot is True,
        driver=_text(document.get("driver")),
        image=_text(document.get("image")),
    )


def _metrics(document: Mapping[str, object]) -> tuple[dict[str, object], dict[str, tuple[float, ...]]]:
    """Return metrics and samples.

    cvl-ci's own metrics come first: an example with many numbers cannot displace them.
    """
    collector = Collector()
    for name, seconds in list(_mapping(document.get("phases")).items())[:20]:
        collector.add(f"time.{name}", seconds)
    collector.add("time.all", document.get("duration_seconds"))
    collector.add("cost_usd", document.get("cost_usd"))
    gpu = _mapping(document.get("gpu"))
    for name in ("memory_mib", "utilization", "utilization_peak"):
        if _amount(gpu.get(name)) is not None:
            collector.add(f"gpu.{name}", gpu[name])
    with suppress(Unreadable):  # deeper than any real file: the metrics read so far stay
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
