"""Which of the files that came back hold metrics, and all of them as one table of names. Pure: contents are given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from cvl_ci.result.benchmark import harness, tables
from cvl_ci.result.benchmark.readings import Collector, Readings, Unreadable

LARGEST_BYTES = 4 << 20
MOST_FILES = 50

_METRICS = re.compile(r"(?:(.+)[_.-])?(?:metrics|leaderboard)\.(jsonl?|ndjson|csv)", re.IGNORECASE)
_BENCHMARK = re.compile(r".*bench(?:mark)?s?.*\.json", re.IGNORECASE)
_JUNIT = re.compile(r"(?:.*junit.*|TEST-.+|(?:test[-_]?)?(?:report|results))\.xml", re.IGNORECASE)


def wanted(paths: Iterable[str]) -> list[str]:
    """Those worth opening, the plainest first: its names stand as they are when two files use the same."""
    return _of_metrics(paths)[:MOST_FILES]


def _of_metrics(paths: Iterable[str]) -> list[str]:
    found = [path for path in paths if any(kind.fullmatch(_name(path)) for kind in (_METRICS, _BENCHMARK, _JUNIT))]
    return sorted(found, key=lambda path: (_name(path) != "metrics.json", path.count("/"), path))


def read_all(paths: Iterable[str], open_file: Callable[[str], bytes]) -> tuple[Readings, list[str]]:
    """And what could not be read, with the reason. `open_file` may raise OSError; more than LARGEST_BYTES is too much.

    The first metrics.json gives its names as they are. Others are told apart by what their own name says
    (`test_metrics.json`: `test.accuracy`), or by their path.
    """
    listed = _of_metrics(paths)
    collector, troubles = Collector(), []
    if len(listed) > MOST_FILES:
        troubles.append(f"{listed[MOST_FILES]} is one of {len(listed) - MOST_FILES} files beyond {MOST_FILES}")
    plain_taken = False
    for path in listed[:MOST_FILES]:
        try:
            found = read(path, open_file(path))
        except (OSError, Unreadable) as error:
            troubles.append(f"{path} {error.strerror if isinstance(error, OSError) else error}")
            continue
        is_plain = _name(path) == "metrics.json" and not plain_taken
        plain_taken = plain_taken or is_plain
        collector.merge(found, prefix="" if is_plain else f"{_prefix(path)}.")
    return collector.readings(), troubles


def read(path: str, content: bytes) -> Readings:
    """One file, by its name. Raises Unreadable."""
    if len(content) > LARGEST_BYTES:
        raise Unreadable(f"is larger than {LARGEST_BYTES >> 20} MiB")
    if path.lower().endswith(".xml"):
        return harness.read_junit(content)
    text = content.decode("utf-8-sig", "replace")
    if path.lower().endswith(".csv"):
        return tables.read_csv(text)
    if path.lower().endswith((".jsonl", ".ndjson")):
        return tables.read_json_lines(text)
    if not _METRICS.fullmatch(_name(path)):
        found = tables.load(text)
        if not isinstance(found, dict) or not harness.is_pytest_benchmark(found):
            raise Unreadable("is no benchmark that pytest wrote")
        return harness.read_pytest_benchmark(found)
    return tables.read_json(text)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _prefix(path: str) -> str:
    stem, _, _ = path.rpartition(".")
    match = _METRICS.fullmatch(_name(path))
    if match and match[1]:
        return match[1]
    return _name(stem) if _name(stem) != "metrics" or "/" not in stem else stem.rpartition("/")[0].replace("/", ".")
