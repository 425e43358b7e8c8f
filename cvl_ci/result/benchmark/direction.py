"""Which way of a metric is better: by its well-known name, or not known, and then it is shown and never gated. Pure."""

from __future__ import annotations

import enum
import re


class Direction(enum.Enum):
    HIGHER = "higher"
    LOWER = "lower"
    TARGET = "target"
    UNKNOWN = "ignore"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HIGHER = _words(
    """
    acc accuracy ap auc auprc auroc bleu cider dice exact_match f1 f1score fps goodput hitrate iou jaccard
    kappa map map50 mcc meteor miou mrr ndcg precision psnr r2 recall roc rouge rouge1 rouge2 rougel speedup
    ssim throughput tps utilization winrate
    """
)
_LOWER = _words(
    """
    bpb brier cer cost crossentropy crps duration ece err error errors failures fid footprint hamming kid
    latency logloss loss lpips mae mape mase memory mse nll perplexity pinball ppl quantileloss regret rmse
    rmsle smape seconds time ttft usd wape wer
    """
)
_WORDS_ABOUT = _words(
    """
    avg average best eval final gb geomean gib hour hours kb last macro max mb mean median mib micro micros
    min minutes ms ns p50 p90 p95 p99 percent peak percentage rate s score sec test top1 top3 top5 top10
    total train us val valid validation value weighted
    """
)
"""Said of a measure, and no measure themselves: `loss.train`, `accuracy_top5`, `latency_ms`."""

_PER_TIME = re.compile(r"(?:_per_|/)(?:s|sec|second|minute|hour)$", re.IGNORECASE)
_UNITS_OF_TIME = _words("ms ns us sec minutes hours")


def by_name(name: str) -> Direction:
    """`test.ndcg@10` is read from its end: numbers and words about a measure are passed over."""
    if name.startswith("time."):  # a phase's, whatever its name
        return Direction.LOWER
    if _PER_TIME.search(name):
        return Direction.HIGHER
    words = [word for word in re.split(r"[^a-z0-9]+", _snake(name)) if word]
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


def _snake(name: str) -> str:
    """`valLoss` is written by some."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()
