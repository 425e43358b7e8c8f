"""Metrics are found in every shape that the field writes, and a hostile file is at most not read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest

from cvl_ci.result.benchmark.files import LARGEST_BYTES, metric_files, read, read_all
from cvl_ci.result.benchmark.harness import MOST_CASES
from cvl_ci.result.benchmark.readings import LONGEST, MOST, UnreadableReadings
from cvl_ci.result.benchmark.tables import MOST_ROWS
from tests.support.processor import within


def metrics(path: str, text: str) -> Mapping[str, object]:
    return read(path, text.encode()).metrics


def test_nested_mappings_bare_nan_odd_keys_and_strings_are_read() -> None:
    text = '{"ndcg@10": 0.31, "test": {"f1": {"macro": 0.5}, "loss": NaN}, "model": "ridge", "best": true, "no": null}'
    assert metrics("artifacts/metrics.json", text) == {
        "ndcg@10": 0.31,
        "test.f1.macro": 0.5,
        "test.loss": None,
        "model": "ridge",
        "best": True,
    }


def test_json_lines_give_the_last_value_and_the_series_half_a_line_left_out() -> None:
    found = read("metrics.jsonl", b'{"step": 1, "loss": 2.0}\n\n{"step": 2, "loss": NaN, "lr": 0.1}\n{"step": 3, "lo')
    assert found.metrics == {"step": 2, "loss": None, "lr": 0.1}
    assert found.series == {"step": (1.0, 2.0), "loss": (2.0,), "lr": (0.1,)}


def test_a_csv_of_steps_is_a_series_and_one_of_names_a_table() -> None:
    steps = read("metrics.csv", b"\xef\xbb\xbfepoch,loss,note\n1,0.9,warm\n2,0.5,\n")
    assert steps.metrics["loss"] == 0.5
    assert steps.series["loss"] == (0.9, 0.5)
    table = metrics("leaderboard.csv", "model,score,fit_time\nGBM,0.91,12\nKNN,0.84,1\n")
    assert table == {"GBM.score": 0.91, "GBM.fit_time": 12, "KNN.score": 0.84, "KNN.fit_time": 1}


def test_lists_of_numbers_are_series() -> None:
    assert read("metrics.json", b'{"loss": [3, 2, 1], "names": ["a"]}').series == {"loss": (3.0, 2.0, 1.0)}


def test_pytest_benchmark_gives_medians_and_the_rounds_it_kept() -> None:
    kept = {"fullname": "tests/test_speed.py::test_fit", "stats": {"median": 0.2, "data": [0.1, 0.2, 0.3]}}
    bare = {"name": "test_load", "stats": {"median": 0.5, "min": 0.4}}
    found = read("out/benchmark.json", json.dumps({"machine_info": {}, "benchmarks": [kept, bare]}).encode())
    assert found.metrics == {"tests/test_speed.py::test_fit.seconds": 0.2, "test_load.seconds": 0.5}
    assert found.samples == {"tests/test_speed.py::test_fit.seconds": (0.1, 0.2, 0.3)}


JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3" time="9.9">
<testcase classname="tests.test_fit" name="test_a" time="1.5"/>
<testcase classname="tests.test_fit" name="test_b" time="2.5"><failure message="assert">no</failure></testcase>
<testcase classname="tests.test_fit" name="test_c" time="0"><skipped/></testcase>
</testsuite></testsuites>"""


def test_junit_is_counted_from_its_cases() -> None:
    assert metrics("junit.xml", JUNIT) == {
        "tests": 3,
        "failures": 1,
        "errors": 0,
        "skipped": 1,
        "seconds": 4.0,
        "tests.test_fit.test_a.seconds": 1.5,
        "tests.test_fit.test_b.seconds": 2.5,
    }


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + "]><testsuite><testcase name='&j;'/></testsuite>"
)
HOSTILE = {
    "entities": ("junit.xml", BOMB),
    "a file of the runner": (
        "junit.xml",
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&e;"/></testsuite>',
    ),
    "no report": ("results.xml", "<html/>"),
    "half a report": ("junit.xml", JUNIT[:200]),
    "an encoding nobody has": ("junit.xml", '<?xml version="1.0" encoding="x-none"?><testsuite/>'),
    "deep": ("metrics.json", '{"a":' * 3000 + "1" + "}" * 3000),
    "too deep for Python": ("metrics.json", "[" * 200_000),
    "a number of 100000 digits": ("metrics.json", '{"a": ' + "9" * 100_000 + "}"),
    "too large": ("metrics.json", " " * (LARGEST_BYTES + 1)),
    "a word": ("metrics.json", '"accuracy"'),
    "no rows": ("metrics.csv", ""),
    "a field without end": ("metrics.csv", 'a,b\n"' + "x" * 200_000),
    "another benchmark": ("benchmark.json", '{"benchmarks": 3, "machine_info": {}}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_not_read_and_takes_no_time(name: str) -> None:
    path, text = HOSTILE[name]
    began = time.process_time()
    with pytest.raises(UnreadableReadings) as refused:
        read(path, text.encode())
    assert len(str(refused.value)) < 200
    assert within(time.process_time() - began, 5)


def test_deeply_nested_xml_is_survived() -> None:
    assert metrics("junit.xml", "<testsuite>" + "<a>" * 100_000 + "</a>" * 100_000 + "</testsuite>")["tests"] == 0


def test_names_and_numbers_of_metrics_are_bounded_and_harmless() -> None:
    found = metrics("metrics.json", json.dumps({f"m{at}": at for at in range(5000)}))
    assert len(found) == MOST
    odd = metrics("metrics.json", json.dumps({"x" * 9999: 1, "\x1b]0;owned\x07loss": 2, "\ud800": 3, "huge": 10**400}))
    assert list(odd) == ["x" * LONGEST, "loss", "\ufffd", "huge"]
    assert odd["huge"] is None


def test_files_are_told_apart_and_the_plainest_gives_its_names_as_they_are() -> None:
    there = {
        "other/metrics.json": b'{"accuracy": 1}',
        "artifacts/test_metrics.json": b'{"accuracy": 2}',
        "metrics.json": b'{"accuracy": 3}',
        "out/leaderboard.csv": b"model,score\nGBM,4\n",
        "out/config.json": b'{"accuracy": 5}',
        "broken_metrics.json": b"{",
    }

    def opened(path: str) -> bytes:
        return there[path]

    found, troubles = read_all(there, opened)
    assert found.metrics == {
        "accuracy": 3,
        "test.accuracy": 2,
        "other.accuracy": 1,
        "leaderboard.GBM.score": 4,
    }
    assert len(troubles) == 1
    assert troubles[0].startswith("broken_metrics.json is not JSON")


def test_a_file_that_is_gone_is_told_of_and_the_rest_is_read() -> None:
    def opened(path: str) -> bytes:
        if path == "metrics.json":
            raise FileNotFoundError(2, "No such file or directory")
        return b'{"a": 1}'

    found, troubles = read_all(["metrics.json", "x/metrics.json"], opened)
    assert found.metrics == {"a": 1}
    assert troubles == ["metrics.json No such file or directory"]


def test_what_is_worth_opening_goes_by_its_name() -> None:
    paths = [
        "metrics.txt",
        "eval-metrics.jsonl",
        "TEST-suite.xml",
        "pom.xml",
        "model.json",
        ".benchmarks/0001_bench.json",
    ]
    assert metric_files(paths) == ["TEST-suite.xml", "eval-metrics.jsonl", ".benchmarks/0001_bench.json"]


def test_a_metric_is_what_the_last_row_says_however_many_there_are() -> None:
    rows = range(MOST_ROWS + 10)
    kinds = {
        "metrics.jsonl": "\n".join(f'{{"loss": {row}}}' for row in rows),
        "metrics.json": json.dumps([{"loss": row} for row in rows]),
        "metrics.csv": "loss\n" + "\n".join(map(str, rows)),
    }
    for name, text in kinds.items():
        assert metrics(name, text)["loss"] == MOST_ROWS + 9


def test_of_more_tests_than_are_counted_no_failure_is_called_none() -> None:
    many = "<testsuite>" + "<testcase name='t'/>" * MOST_CASES + "<testcase name='x'><failure/></testcase></testsuite>"
    with pytest.raises(UnreadableReadings, match="more than 20,000 tests"):
        read("junit.xml", many.encode())


def test_files_that_were_too_many_to_read_are_told_of() -> None:
    _, troubles = read_all([f"{at}_metrics.json" for at in range(53)], lambda path: b"{}")
    assert len(troubles) == 1 and "is one of 3 files beyond 50" in troubles[0]
