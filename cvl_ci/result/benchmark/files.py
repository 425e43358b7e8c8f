"""Select the fetched files that hold metrics, and read them as one table of names.

Pure: the caller passes the contents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from cvl_ci.result.benchmark import harness, tables
from cvl_ci.result.benchmark.readings import Collector, Readings, UnreadableReadings

LARGEST_BYTES = 4 << 20
MOST_FILES = 50

_METRICS = re.compile(r"(?:(.+)[_.-])?(?:metrics|leaderboard)\.(jsonl?|ndjson|csv)", re.IGNORECASE)
_BENCHMARK = re.compile(r".*bench(?:mark)?s?.*\.json", re.IGNORECASE)
_JUNIT = re.compile(r"(?:.*junit.*|TEST-.+|(?:test[-_]?)?(?:report|results))\.xml", re.IGNORECASE)


def metric_files(paths: Iterable[str]) -> list[str]:
    """Return the paths to open, the plainest first: its names stay unchanged if two files use the same names."""
    return _of_metrics(paths)[:MOST_FILES]


def _of_metrics(paths: Iterable[str]) -> list[str]:
    matches = [path for path in paths if any(kind.fullmatch(_name(path)) for kind in (_METRICS, _BENCHMARK, _JUNIT))]
    return sorted(matches, key=lambda path: (_name(path) != "metrics.json", path.count("/"), path))


def read_all(paths: Iterable[str], open_file: Callable[[str], bytes]) -> tuple[Readings, list[str]]:
    """Return all metrics, and the files that could not be read, with the reason.

    `open_file` may raise OSError. It need not read more than LARGEST_BYTES. The first metrics.json gives its names
    unchanged. Names from other files get a prefix: the file's own name (`test_metrics.json`: `test.accuracy`) or its
    path.
    """
    names = _of_metrics(paths)
    collector, troubles = Collector(), []
    if len(names) > MOST_FILES:
        troubles.append(f"{names[MOST_FILES]} is one of {len(names) - MOST_FILES} files beyond {MOST_FILES}")
    plain_taken = False
    for path in names[:MOST_FILES]:
        try:
            readings = read(path, open_file(path))
        except (OSError, UnreadableReadings) as error:
            troubles.append(f"{path} {error.strerror if isinstance(error, OSError) else error}")
            continue
        is_plain = _name(path) == "metrics.json" and not plain_taken
        plain_taken = plain_taken or is_plain
        collector.merge(readings, prefix="" if is_plain else f"{_prefix(path)}.")
    return collector.readings(), troubles


def read(path: str, content: bytes) -> Readings:
    """Read one file, by its name. Raises UnreadableReadings."""
    if len(content) > LARGEST_BYTES:
        raise UnreadableReadings(f"is larger than {LARGEST_BYTES >> 20} MiB")
    if path.lower().endswith(".xml"):
        return harness.read_junit(content)
    text = content.decode("utf-8-sig", "replace")
    if path.lower().endswith(".csv"):
        return tables.read_csv(text)
    if path.lower().endswith((".jsonl", ".ndjson")):
        return tables.read_json_lines(text)
    if not _METRICS.fullmatch(_name(path)):
        document = tables.load(text)
        if not isinstance(document, dict) or not harness.is_pytest_benchmark(document):
            raise UnreadableReadings("is not a benchmark file of pytest")
        return harness.read_pytest_benchmark(document)
    return tables.read_json(text)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _prefix(path: str) -> str:
    stem, _, _ = path.rpartition(".")
    match = _METRICS.fullmatch(_name(path))
    if match and match[1]:
        return match[1]
    return _name(stem) if _name(stem) != "metrics" or "/" not in stem else stem.rpartition("/")[0].replace("/", ".")
