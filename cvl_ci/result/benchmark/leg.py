"""One leg of a matrix as its summary file tells it: what ran where, how it ended, what it measured. Pure.

The file came over artifacts that a machine's numbers are in: every field is looked at, and none is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cvl_ci.model.outcome import Beside, Change, Ending
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.benchmark.readings import LONGEST, MOST, Collector, Unreadable, finite, short
from cvl_ci.result.benchmark.sides import numbers_of
from cvl_ci.result.sanitize import encodable

LARGEST_BYTES = 8 << 20
MOST_WORDS = 300
MOST_ATTEMPTS = 100
MOST_NODES = 10_000
LARGEST_AMOUNT = 1e12
"""Seconds or dollars; no run takes more."""

LATEST = 32_503_680_000.0
"""The year 3000. A later time is none: calendars end, in Python with the year 9999."""

_ATTEMPT = re.compile(r"/attempts/([0-9]{1,9})$")
_VERDICTS = {verdict.value for verdict in Verdict}
_ENDINGS = {ending.value: ending for ending in Ending}


@dataclass(frozen=True, kw_only=True)
class Key:
    """What must be alike before numbers may be compared. Empty, or 0 nodes: the summary does not say."""

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
class Leg:
    """`metrics`: the example's own, and what every run measures (`time.running`, `cost_usd`). `samples`: of those that
    were taken more than once. `at`: epoch seconds, 0 where nothing says."""

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
    at: float = 0.0
    seconds: float = 0.0
    usd: float | None = None
    hourly_usd: float | None = None
    on_demand_hourly_usd: float | None = None
    billed: bool = True
    gone: bool = True
    asked: tuple[str, ...] = ()
    """Where machines were asked for: of one that never started it is all there is to tell it by."""
    errors: str = ""
    """All that providers and reason said of why not, to be searched and not shown."""
    metrics: Mapping[str, object] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    beside: Beside | None = None
    """What it was told against its base on its own machine, where they ran in turn."""

    @property
    def attempt(self) -> int:
        """Return the attempt of the workflow's run. A run that names none was the first."""
        number = _ATTEMPT.search(self.run_url)
        return int(number[1]) if number else 1

    def measured(self, name: str) -> tuple[float, ...]:
        """All samples of a metric; its one value where there are none."""
        return numbers_of(name, self)


def read(content: bytes) -> Leg:
    """Read a summary, and drop each field that makes no sense. Raises ValueError for what is no summary of a run."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"is larger than {LARGEST_BYTES >> 20} MiB")
    try:
        said = encodable(json.loads(content))
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None
    if not isinstance(said, dict) or not ({"ending", "cluster"} & said.keys()):
        raise ValueError("is no summary of a run")
    if _text(said.get("ending")) not in _ENDINGS:
        raise ValueError("has an ending that is no known one")
    return _leg(said)


def line(leg: Leg) -> str:
    """For history: one line that `read` makes the same leg of, with nothing in it that was not looked at."""
    key = leg.key
    said: dict[str, object] = {
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
        "released": {"gone": leg.gone},
        "metrics": dict(leg.metrics),
        "samples": {name: list(values) for name, values in leg.samples.items()},
    }
    return json.dumps({name: value for name, value in said.items() if value not in (None, "", {})}, allow_nan=False)


def _leg(said: Mapping[str, object]) -> Leg:
    released = _mapping(said.get("released"))
    attempts = [_mapping(tried) for tried in _list(said.get("attempts"))[:MOST_ATTEMPTS]]
    metrics, samples = _metrics(said)
    code = said.get("exit_code")
    return Leg(
        key=_key(said, attempts),
        ending=_ENDINGS[_text(said.get("ending"))],
        reason=_text(said.get("reason"), most=MOST_WORDS),
        exit_code=code if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 256 else 70,
        cluster=_text(said.get("cluster")),
        name=_text(said.get("leg")),
        region=_text(said.get("region")),
        commit=_text(said.get("commit")),
        run_url=_web_address(said.get("run_url")),
        job=_text(said.get("job")),
        check_run=number if (number := _text(said.get("check_run"))).isascii() and number.isdecimal() else "",
        at=_epoch(said.get("at")) or _moment(released.get("at")),
        seconds=_amount(said.get("duration_seconds")) or 0.0,
        usd=_amount(said.get("cost_usd")),
        hourly_usd=_amount(said.get("hourly_usd")),
        on_demand_hourly_usd=_amount(said.get("on_demand_hourly_usd")),
        billed=said.get("billed") is not False,
        gone=released.get("gone") is True,
        asked=tuple(dict.fromkeys(_place(tried) for tried in attempts)),
        errors="\n".join(_text(text, most=MOST_WORDS) for text in (said.get("reason"), *_errors(attempts))),
        metrics=metrics,
        samples=samples,
        beside=_beside(_mapping(said.get("beside"))),
    )


def _key(said: Mapping[str, object], attempts: Sequence[Mapping[str, object]]) -> Key:
    """Without a launch, the last machine that was asked for names cloud and kind."""
    last = attempts[-1] if attempts else {}
    title = _text(said.get("title"))
    example, _, preset = title.rpartition(" ") if " " in title else (title, "", "")
    accelerators = _mapping(said.get("accelerators") or last.get("accelerators"))
    spot = said.get("spot") if said.get("spot") is not None else last.get("spot")
    return Key(
        example=_text(said.get("example")) or example or _text(said.get("cluster")) or "?",
        preset=_text(said.get("preset")) or preset,
        accelerator=",".join(sorted(f"{_word(name)}:{_word(count)}" for name, count in accelerators.items())),
        cloud=_text(said.get("cloud")) or _text(last.get("cloud")),
        instance_type=_text(said.get("instance_type")) or _text(last.get("instance_type")),
        nodes=_nodes(said.get("num_nodes")),
        spot=spot is True,
        driver=_text(said.get("driver")),
        image=_text(said.get("image")),
    )


def _metrics(said: Mapping[str, object]) -> tuple[dict[str, object], dict[str, tuple[float, ...]]]:
    """What it measured itself first: an example full of numbers cannot crowd that out."""
    collector = Collector()
    for name, seconds in list(_mapping(said.get("phases")).items())[:20]:
        collector.add(f"time.{name}", seconds)
    collector.add("time.all", said.get("duration_seconds"))
    collector.add("cost_usd", said.get("cost_usd"))
    gpu = _mapping(said.get("gpu"))
    for name in ("memory_mib", "utilization", "utilization_peak"):
        if _amount(gpu.get(name)) is not None:
            collector.add(f"gpu.{name}", gpu[name])
    with suppress(Unreadable):  # deeper than anybody measures: what was read of it stays
        collector.flatten(_mapping(said.get("metrics")), null=True)
    for name, values in _mapping(said.get("samples")).items():
        collector.add_samples(str(name), _list(values))
    found = collector.readings()
    return dict(found.metrics), dict(found.samples)


def _beside(said: Mapping[str, object]) -> Beside | None:
    """Nothing where nothing was compared."""
    changes = [_change(_mapping(one)) for one in _list(said.get("changes"))[:MOST]]
    found = tuple(change for change in changes if change is not None)
    return Beside(ref=_text(said.get("ref")), commit=_text(said.get("commit")), changes=found) if found else None


def _change(said: Mapping[str, object]) -> Change | None:
    metric, verdict = _text(said.get("metric")), _text(said.get("verdict"))
    told = [said.get(side) for side in ("head", "base")]
    head, base = (one if isinstance(one, bool) else finite(one) for one in told)
    is_odd = any(one is not None and value is None for one, value in zip(told, (head, base), strict=True))
    if not metric or is_odd or verdict not in _VERDICTS or (head is None and base is None and verdict != "unsure"):
        return None
    return Change(
        metric=metric,
        head=head,
        base=base,
        change=finite(said.get("change")),
        verdict=verdict,
        why=_text(said.get("why")),
        gated=said.get("gated") is not False,
    )


def _word(value: object) -> str:
    """A part of `L4:1,T4:2`, which neither mark may be in."""
    text = f"{value:g}" if isinstance(value, float) else _text(value) or "?"
    return short(text.replace(",", "·").replace(":", "·"), most=40).strip()


def _errors(attempts: Sequence[Mapping[str, object]]) -> list[object]:
    return [tried.get("error") for tried in attempts]


def _place(tried: Mapping[str, object]) -> str:
    parts = (_text(tried.get("cloud")), _text(tried.get("zone")) or _text(tried.get("region")))
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
    """Return seconds since 1970, or 0 for what is no time of a run."""
    number = _amount(value)
    return number if number is not None and number < LATEST else 0.0


def _moment(value: object) -> float:
    """Epoch seconds of what `units.moment` wrote."""
    if not isinstance(value, str):
        return _epoch(value)
    try:
        return _epoch(datetime.fromisoformat(value[:LONGEST].replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError, OSError):
        return 0.0


def _web_address(value: object) -> str:
    """Of ours, in a link: nothing that could leave the parentheses."""
    text = _text(value, most=300).replace(" ", "")
    return text if text.startswith(("https://", "http://")) and not set(text) & set("()<>[]\"'\\`|{}") else ""
