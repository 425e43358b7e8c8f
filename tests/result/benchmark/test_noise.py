"""Noise alone is hardly ever called a regression, a real one is seen where samples allow it, and neither is luck."""

from __future__ import annotations

import random
import statistics

import pytest

from cvl_ci.result.benchmark.noise import FLOOR_PAIRS, Floor, Ruling, Verdict, enough, floor, interval, judge
from tests.bench.noise import KINDS, ORDERS, SLOWER, Row, rate, study, table

STEADY = [1.0, 1.01, 0.99, 1.005, 0.995]


def judged(head: list[float], base: list[float], *, lower: bool = True, known: Floor | None = None) -> Ruling:
    return judge(head, base, lower_is_better=lower, tolerance=0.05, floor=known)


def times(factor: float) -> list[float]:
    return [value * factor for value in STEADY]


@pytest.mark.parametrize(
    ("factor", "lower", "verdict"),
    [
        (1.20, True, Verdict.WORSE),
        (1.20, False, Verdict.BETTER),
        (0.80, True, Verdict.BETTER),
        (0.80, False, Verdict.WORSE),
        (1.00, True, Verdict.SAME),
        (1.05, True, Verdict.UNSURE),
    ],
)
def test_a_change_is_called_by_its_direction(factor: float, lower: bool, verdict: Verdict) -> None:
    assert judged(times(factor), STEADY, lower=lower).verdict is verdict


def test_too_few_samples_never_call_anything_and_say_so() -> None:
    found = judged([2.0], [1.0])
    assert found.verdict is Verdict.UNSURE
    assert found.change == pytest.approx(1.0)
    assert "1 against 1 samples cannot tell" in found.reason
    assert not enough(4, 4)
    assert enough(5, 4)
    assert enough(1, 99)


def test_what_repeats_in_every_digit_on_both_sides_is_judged_by_four_of_each() -> None:
    assert judged([1.23] * 4, [1.0] * 4).verdict is Verdict.WORSE
    assert judged([1.04] * 4, [1.0] * 4).verdict is Verdict.SAME
    assert judged([1.23] * 3, [1.0] * 3).verdict is Verdict.UNSURE
    assert judged([1.23] * 4, [1.0, 1.0, 1.0, 1.0001]).verdict is Verdict.UNSURE
    assert judged([1.23] * 4, [1.0] * 4, known=Floor(share=0.3, pairs=5)).verdict is Verdict.UNSURE, (
        "it is known better"
    )


def test_within_the_floor_nothing_is_called_worse() -> None:
    assert judged(times(1.2), STEADY, known=Floor(share=0.25, pairs=5)).verdict is not Verdict.WORSE
    assert judged(times(1.2), STEADY, known=Floor(share=0.10, pairs=5)).verdict is Verdict.WORSE


def test_what_repeats_in_every_digit_needs_no_second_sample() -> None:
    exact = floor([("a", 0.9), ("a", 0.9), ("a", 0.9), ("a", 0.9)])
    assert exact.exact
    assert judged([0.8], [0.9], lower=False, known=exact).verdict is Verdict.WORSE
    assert judged([0.89], [0.9], lower=False, known=exact).verdict is Verdict.SAME


def test_the_floor_is_what_the_same_code_differs_by() -> None:
    found = floor([("a", 100.0), ("a", 110.0), ("b", 300.0), ("b", 303.0), ("b", 300.0)])
    assert found.share == pytest.approx(0.10)
    assert found.pairs == FLOOR_PAIRS


def test_one_real_change_among_nights_of_other_code_does_not_raise_the_floor() -> None:
    nights = [(str(at), value) for at, value in enumerate([100.0, 101.0, 100.0, 200.0, 202.0, 200.0])]
    assert floor(nights).share == pytest.approx(0.03, abs=0.001)
    assert floor(nights[:2]) == Floor()
    assert not floor([("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0)]).exact


def test_what_is_missing_on_one_side_has_no_baseline() -> None:
    assert judged([], STEADY).verdict is Verdict.NO_BASELINE
    assert judged(STEADY, []).verdict is Verdict.NO_BASELINE


def test_a_base_of_zero_has_no_share_and_what_leaves_it_is_seen() -> None:
    assert judged([0.0], [0.0]).verdict is Verdict.SAME
    assert judged([3.0] * 5, [0.0] * 5).verdict is Verdict.WORSE
    assert judged([3.0] * 5, [0.0] * 5, lower=False).verdict is Verdict.BETTER
    assert judged([3.0], [0.0]).verdict is Verdict.UNSURE, "one run of each"
    assert judged([3.0, 0.0, 0.0, 4.0, 0.0], [0.0] * 5).verdict is Verdict.UNSURE
    assert judged([3.0] * 5, [0.0, 1.0, 0.0, 0.0, 1.0]).verdict is Verdict.WORSE
    assert judged([1.0, 1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]).verdict is not Verdict.SAME
    assert judged([37.0], [0.0], known=floor([("a", 0.0)] * 4)).verdict is Verdict.WORSE
    assert judged([1.0] * 9, [-1.0, 1.0] * 5).verdict is Verdict.UNSURE


def test_below_zero_less_is_still_less() -> None:
    assert judged([-1.3] * 6, [-1.0] * 6, lower=True).verdict is Verdict.BETTER
    assert judged([-1.3] * 6, [-1.0] * 6, lower=False).verdict is Verdict.WORSE


def test_the_interval_is_that_of_resampling_itself() -> None:
    """The closed form against ten thousand resamples."""
    dice = random.Random(7)
    base, head = ([dice.gauss(mean, 0.1) for _ in range(9)] for mean in (1.0, 1.2))
    drawn = sorted(
        statistics.median(dice.choices(head, k=9)) / statistics.median(dice.choices(base, k=9)) - 1
        for _ in range(10_000)
    )
    low, high = interval(head, base, confidence=0.9)
    assert low == pytest.approx(drawn[500], abs=0.01)
    assert high == pytest.approx(drawn[9500], abs=0.01)


def test_many_samples_take_no_time_and_the_order_does_not_matter() -> None:
    dice = random.Random(3)
    base = [dice.gauss(1, 0.05) for _ in range(5000)]
    assert judged(base, base) == judged(base, sorted(base))
    assert judged(base, base).verdict is Verdict.SAME


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ORDERS])
def test_noise_alone_is_called_a_regression_in_at_most_one_of_a_hundred(kind: str) -> None:
    for samples in (4, 5, 8):
        alarms = rate(KINDS[kind], samples=samples, slower=0, interleaved=False, trials=1000, seed=f"{kind}{samples}")
        assert alarms <= 0.01, (kind, samples)


def test_five_samples_see_a_fifth_in_normal_noise_and_not_in_states_as_far_apart() -> None:
    normal, states, tails = (
        rate(KINDS[kind], samples=5, slower=0.2, interleaved=False, trials=300, seed="power")
        for kind in ("normal, σ 2 %", "bimodal, 15 % apart", "heavy-tailed")
    )
    assert normal > 0.99
    assert states < 0.3
    assert 0.5 < tails < 0.8


def test_a_drift_is_taken_for_a_regression_unless_both_sides_share_it() -> None:
    drift = KINDS["drifting, 0.5 % a sample"]
    assert rate(drift, samples=20, slower=0, interleaved=False, trials=100, seed="d") > 0.3
    assert rate(drift, samples=20, slower=0, interleaved=True, trials=100, seed="d") == 0


def test_a_state_for_a_machine_s_life_is_only_known_from_other_nights() -> None:
    """Samples on one machine cannot show it: the floor can, once nights of the same code are known."""
    noise = KINDS["one state a machine"]
    without, few, many = (
        rate(noise, samples=5, slower=0, interleaved=False, trials=600, seed="m", nights=nights)
        for nights in (0, 8, 20)
    )
    assert without > 0.15
    assert few <= 0.01
    assert many == 0


def test_the_study_s_table_is_the_same_for_the_same_seed() -> None:
    rows = study(trials=20, seed=1, counts=(5,), kinds=("normal, σ 2 %",))
    assert rows == study(trials=20, seed=1, counts=(5,), kinds=("normal, σ 2 %",))
    assert len(rows[0].worse) == len(SLOWER)
    one = Row(kind="k", order="o", samples=5, worse=(0, 0.01, 0.5, 1, 1))
    assert table([one]).splitlines()[1] == "k      o      5  0.0%  1.0%  50.0%  100.0%  100.0%"
