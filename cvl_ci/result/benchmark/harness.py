"""Read measurements of a test runner: pytest-benchmark's JSON and the JUnit XML that all runners write. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from cvl_ci.result.benchmark.readings import Collector, Readings, UnreadableReadings, finite, short

MOST_CASES = 20_000
_TROUBLE = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def is_pytest_benchmark(document: object) -> bool:
    return isinstance(document, dict) and isinstance(document.get("benchmarks"), list) and "machine_info" in document


def read_pytest_benchmark(document: Mapping[str, object]) -> Readings:
    """Return one metric for each benchmark: `NAME.seconds` is the median of its rounds.

    The rounds are the samples, if pytest stored them (`--benchmark-save-data`).
    """
    collector = Collector()
    benchmarks = document.get("benchmarks")
    for benchmark in benchmarks[:MOST_CASES] if isinstance(benchmarks, list) else ():
        stats = benchmark.get("stats") if isinstance(benchmark, dict) else None
        if not isinstance(stats, dict):
            continue
        name = f"{benchmark.get('fullname') or benchmark.get('name') or '?'}.seconds"
        rounds = stats.get("data")
        samples = [s for r in rounds if (s := finite(r)) is not None] if isinstance(rounds, list) else []
        median = finite(stats.get("median"))
        collector.add(name, median if median is not None else statistics.median(samples) if samples else None)
        collector.add_samples(name, samples)
    return collector.readings()


def read_junit(content: bytes) -> Readings:
    """Return how many tests there were, how they ended, and the seconds of all and of each.

    No XML entity is expanded.
    """
    cases = list(_cases(content))
    counts = dict.fromkeys(("tests", *_TROUBLE.values()), 0)
    collector = Collector()
    seconds: dict[str, list[float]] = {}
    for name, trouble, took in cases:
        counts["tests"] += 1
        if trouble:
            counts[trouble] += 1
        if took is not None and trouble != "skipped":
            seconds.setdefault(name, []).append(took)
    for key, count in counts.items():
        collector.add(key, count)
    collector.add("seconds", sum(sum(times) for times in seconds.values()))
    for name, times in seconds.items():
        collector.add(f"{name}.seconds", statistics.median(times))
        if len(times) > 1:
            collector.add_samples(f"{name}.seconds", times)
    return collector.readings()


def _cases(content: bytes) -> Iterator[tuple[str, str, float | None]]:
    """Yield name, kind of trouble (or an empty string), and seconds of each test."""
    root = _root(content)
    if _tag(root) not in {"testsuite", "testsuites"}:
        raise UnreadableReadings("is not a test report")
    for at, case in enumerate(element for element in root.iter() if _tag(element) == "testcase"):
        if at >= MOST_CASES:  # a count of some of them would hide failures
            raise UnreadableReadings(f"has more than {MOST_CASES:,} tests")
        name = ".".join(part for part in (case.get("classname"), case.get("name")) if part)
        trouble = next((_TROUBLE[tag] for child in case if (tag := _tag(child)) in _TROUBLE), "")
        yield short(name), trouble, _seconds(case.get("time"))


def _root(content: bytes) -> Any:
    # Imported only when there is a report to read: --help and plan never read one.
    from defusedxml import DefusedXmlException, ElementTree  # noqa: PLC0415

    try:
        return ElementTree.fromstring(content, forbid_dtd=True)
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise UnreadableReadings(f"is not plain XML: {str(error)[:80]}") from None


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _seconds(text: str | None) -> float | None:
    """Read seconds; some programs write `1,234.5`."""
    try:
        return finite(float((text or "").replace(",", "")))
    except ValueError:
        return None
