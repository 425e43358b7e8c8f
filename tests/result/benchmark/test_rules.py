"""Which way is better is said by the repository, else by a well-known name, else nobody knows and nothing is gated."""

from __future__ import annotations

import pytest

from cvl_ci.errors import RequestError
from cvl_ci.result.benchmark.direction import Direction, by_name
from cvl_ci.result.benchmark.rules import TOLERANCE, Rules, read

KNOWN = {
    "accuracy": Direction.HIGHER,
    "test.ndcg@10": Direction.HIGHER,
    "accuracy_top5": Direction.HIGHER,
    "f1_score": Direction.HIGHER,
    "tokens_per_second": Direction.HIGHER,
    "samples/s": Direction.HIGHER,
    "average_precision": Direction.HIGHER,
    "mAP": Direction.HIGHER,
    "mIoU": Direction.HIGHER,
    "valLoss": Direction.LOWER,
    "loss.train": Direction.LOWER,
    "cate_rmse": Direction.LOWER,
    "latency_p99_ms": Direction.LOWER,
    "error_rate": Direction.LOWER,
    "peak_memory_gb": Direction.LOWER,
    "time.running": Direction.LOWER,
    "cost_usd": Direction.LOWER,
    "tests.test_fit.test_a.seconds": Direction.LOWER,
    "epochs": Direction.UNKNOWN,
    "loss_weight": Direction.UNKNOWN,
    "accuracy_std": Direction.UNKNOWN,
    "policy_value": Direction.UNKNOWN,
    "best": Direction.UNKNOWN,
    "": Direction.UNKNOWN,
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_well_known_name_says_which_way_is_better(name: str) -> None:
    assert by_name(name) is KNOWN[name]


def test_the_first_pattern_that_fits_counts() -> None:
    rules = read(
        b"""
tolerance: 3%
metrics:
  "*.accuracy": higher
  time.running: {direction: lower, tolerance: 10%}
  temperature: {target: 37}
  "train.*": ignore
  "my_loss": {tolerance: 0.2}
"""
    )
    assert rules.of("val.accuracy").direction is Direction.HIGHER
    assert rules.of("val.accuracy").tolerance == 0.03
    assert rules.of("time.running").tolerance == 0.10
    assert (rules.of("temperature").direction, rules.of("temperature").target) == (Direction.TARGET, 37)
    assert rules.of("train.accuracy").direction is Direction.HIGHER
    assert rules.of("train.loss").direction is Direction.UNKNOWN
    assert rules.of("my_loss").direction is Direction.LOWER
    assert rules.of("elsewhere.loss").by_name


def test_an_empty_file_says_nothing() -> None:
    assert read(b"# nothing yet\n") == Rules(tolerance=TOLERANCE)


def test_all_that_is_wrong_is_said_in_one_error() -> None:
    with pytest.raises(RequestError) as refused:
        read(
            b"""
tolerence: 5%
tolerance: 500%
metrics:
  accuracy: hihger
  a: {direction: lower, tolrance: 1%}
  b: {direction: target}
  c: {direction: higher, target: 3}
  d: 7
"""
        )
    said = str(refused.value)
    for words in (
        "cvl-ci.yml: 'tolerence' is not a key. Did you mean tolerance?",
        "cvl-ci.yml tolerance: '500%' is not a share",
        "cvl-ci.yml metrics.accuracy.direction: 'hihger' is not a direction. Did you mean higher?",
        "cvl-ci.yml metrics.a: 'tolrance' is not a key. Did you mean tolerance?",
        "cvl-ci.yml metrics.b.target",
        "cvl-ci.yml metrics.c.target",
        "cvl-ci.yml metrics.d: '7' is neither a direction",
    ):
        assert words in said
    assert len(refused.value.mistakes) == 7


@pytest.mark.parametrize("content", [b"[a, b]", b"a: [", b"\xff\xfe", b"metrics: 3"])
def test_what_is_no_such_file_is_one_clear_error(content: bytes) -> None:
    with pytest.raises(RequestError, match=r"cvl-ci\.yml"):
        read(content)
