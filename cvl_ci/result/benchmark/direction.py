"""Decide which way of a metric is better, by its well-known name. Pure.

If the name is not known, the metric is shown and never gated.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence


class Direction(enum.Enum):
    HIGHER = "higher"
    LOWER = "lower"
    TARGET = "target"
    UNKNOWN = "ignore"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HIGHER = _words(
    """
    acc accuracy ap auc auprc auroc availability bandwidth bleu cider converged correct coverage dice efficiency elo
    exact_match f1 f1score fps gflops goodput hfu hit_rate hit_ratio hitrate hits identical iops iou ips jaccard kappa
    map map50 matched mcc meteor mfu miou mrr ndcg ok passed passes pass precision psnr qps r2 recall reward roc rouge
    rouge1 rouge2 rougel rps snr solved speed speedup ssim succeeded success successes tflops throughput tps
    uptime utilization win_rate winrate wps
    """
)
_TIME = _words(
    """
    day days duration h hour hours hr hrs latency microseconds millis milliseconds min mins minute minutes ms
    nanoseconds ns runtime s sec second seconds secs time us walltime week
    """
)
_COST = _words("cost costs dollar dollars eur euro euros price spend usd")
_ENERGY = _words("co2 emissions energy joule joules kwh watt watts wh")
_FAILURE = _words(
    """
    crash crashed crashes diverged divergence drops dropped err error errors evictions exceptions fail failed fails
    failure failures fault faults leak leaked leaks misses miss nan nans oom ooms overflow overflows preemption
    preemptions recompiles regressions rejected rejections restarts retries stall stalls timeouts violation violations
    """
)
"""Events of which everybody wants fewer, and wants them later."""

_LOWER = (
    _words(
        """
        bpb brier cer crossentropy crps delay downtime duration ece elapsed fid footprint hamming itl jitter kid lag
        latency logloss loss lpips mae makespan mape mase memory mse nll overhead perplexity pinball ppl
        quantileloss regret rmse rmsle runtime seconds smape staleness time tpot ttft vram walltime wape wer
        """
    )
    | _COST
    | _ENERGY
    | _FAILURE
)
_WORK = _words(
    """
    bits bytes batches examples episodes epochs evaluations events flop flops frames games gb gib gigabytes images
    inferences items iterations iters kb mb megabytes messages ops operations pages pixels points prompts queries
    records requests rows samples sentences sequences simulations steps tasks tokens transactions updates words
    """
)
_EFFORT = _words("episodes epochs evaluations flops iterations iters requests samples steps tokens trials updates")
_GOALS = _words("baseline converge convergence converged finish first optimum quality solution solve target threshold")
_WORDS_ABOUT = _words(
    """
    avg average best count eval final gb geomean gib hour hours k kb last macro max mb mean median mib micro micros
    min minutes ms ns num p50 p90 p95 p99 percent peak percentage rate ratio s score sec test top1 top3 top5 top10
    total train us val valid validation value weighted
    """
)
"""Words about a measure that are not measures themselves: `loss.train`, `accuracy_top5`, `latency_ms`."""

_SETTINGS = _words("budget config limit scale schedule sd std stddev stdev var variance weight")
"""Words that change a measure's name into a name of something else: `tokens_per_second_std`."""

_SLASH = re.compile(r"/(?=(?:s|sec|second|minute|hour|day)s?$)|(?<=[a-z])/(?=(?:step|it|iter|token|sample|request)s?$)")
_UNITS_OF_TIME = _words("ms ns us sec minutes hours")


def by_name(name: str) -> Direction:
    """Read `test.ndcg@10` from its end, and `a_per_b` and `x_to_y` as a person does."""
    if name.startswith("time."):  # the time of a phase, under any phase's name
        return Direction.LOWER
    plain = _SLASH.sub("_per_", _snake(name).replace("$", "usd_"))
    words = [word for word in re.split(r"[^a-z0-9]+", plain) if word]
    for joint, read in (("per", _ratio), ("to", _way), ("between", _way)):
        if joint in words[1:-1]:
            direction = read(words)
            if direction is not None:
                return direction
    return _measure(words)


_OF_THE_MACHINE = frozenset(
    """
    bandwidth bytes fps gb gflops gib goodput gpu hfu iops mb memory mfu mib qps rps speed speedup tflops throughput tps
    uptime utilization vram wps
    """.split()  # noqa: SIM905 - a list of words is easier to read
)


def is_of_the_machine(name: str) -> bool:
    """Return whether a metric measures time, speed, cost or use of a machine, and not the result of the work."""
    if name.startswith("time."):
        return True
    words = set(re.split(r"[^a-z0-9]+", _snake(name)))
    return bool(words & (_TIME | _COST | _ENERGY | _OF_THE_MACHINE))


def _measure(words: Sequence[str]) -> Direction:
    """Read from the end; pass over numbers and words about a measure."""
    words = list(words)
    while words:
        last, pair = words[-1], "_".join(words[-2:])
        if last in _HIGHER or pair in _HIGHER:
            return Direction.HIGHER
        if last in _LOWER:
            return Direction.LOWER
        if last in _UNITS_OF_TIME and len(words) == 1:
            return Direction.LOWER
        if last not in _WORDS_ABOUT and not last.isdecimal():
            return Direction.UNKNOWN
        words.pop()
    return Direction.UNKNOWN


def _ratio(words: Sequence[str]) -> Direction | None:
    """Read `tokens_per_second_per_gpu`, `seconds_per_step`, `errors_per_request`, `hours_per_failure`."""
    at = words.index("per", 1)
    above, below = words[:at], {*words[at + 1 :]}
    if words[-1] in _SETTINGS:
        return Direction.UNKNOWN
    last = above[-1]
    if _FAILURE & {*above}:
        return Direction.LOWER
    if _FAILURE & below and (last in _TIME or last in _WORK):
        return Direction.HIGHER
    is_rate = bool(below & (_TIME | _COST | _ENERGY))
    if last in _WORK:
        if is_rate:
            return Direction.HIGHER
        return Direction.LOWER if last == "bits" else Direction.UNKNOWN  # bits_per_byte; steps_per_epoch is a setting
    if last in _TIME or last in _COST or last in _ENERGY:
        return Direction.LOWER
    measure = _measure(above)
    if measure is Direction.UNKNOWN and below & _TIME and words[-1] in _TIME:
        return Direction.HIGHER  # any count in a second is a rate of work
    return measure


def _way(words: Sequence[str]) -> Direction | None:
    """Read `time_to_accuracy`, `steps_to_loss`, `requests_to_failure`, `time_between_failures`. None: another name."""
    at = next(place for place, word in enumerate(words) if word in {"to", "between"} and place)
    effort, goal = words[at - 1], {*words[at + 1 :]}
    is_time = effort in _TIME or effort in _COST or effort in _ENERGY
    if effort == "signal" and "noise" in goal:
        return Direction.HIGHER
    if words[-1] in _SETTINGS or "live" in goal:
        return Direction.UNKNOWN
    if not is_time and effort not in _EFFORT:
        return None
    if _FAILURE & goal:
        return Direction.HIGHER
    is_goal_known = is_time or goal & (_GOALS | _HIGHER | _LOWER)
    return Direction.LOWER if is_goal_known else Direction.UNKNOWN


def good(flag: bool, direction: Direction) -> bool:
    """Return whether this is the better one of yes and no: `passed` should be true, `diverged` false."""
    return flag is not (direction is Direction.LOWER)


def _snake(name: str) -> str:
    """Split `valLoss`, as some frameworks write names, into `val_loss`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()
