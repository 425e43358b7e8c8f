"""Express the losses of a run's machines, and their replacement, in a few words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cvl_ci.model.loss import LossKind, Recovery
from cvl_ci.model.outcome import Outcome
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, duration


def recovery_begins(recovery: Recovery, *, number: int, of: int) -> str:
    """Return the line about a loss that the run recovers from."""
    what = "the spot machine" if recovery.spot else "the machine"
    return plain(f"{what} on {recovery.place} was lost ({recovery.lost.why}): cvl-ci starts recovery {number} of {of}")


def replacement_begins(recovery: Recovery, *, number: int, of: int) -> str:
    """Return the line about a broken machine that cvl-ci gives back for another one."""
    gives_back = "cvl-ci gives it back, and asks for a machine elsewhere"
    return plain(f"the machine on {recovery.place} is broken ({recovery.lost.why}): {gives_back} ({number} of {of})")


def recoveries(outcome: Outcome) -> Iterator[str]:
    """Yield a line on each loss: where and why, how long no machine ran the job, and its cost."""
    if count := outcome.machines.controller and outcome.machines.controller.count:
        yield f"the controller of the API server recovered the job {'once' if count == 1 else f'{count} times'}"
    for one in outcome.machines.recoveries:
        machine = f"{one.instance_type} {'spot' if one.spot else 'on-demand'} on {one.place}"
        pause = one.pause_seconds
        if one.lost.kind is LossKind.UNFIT:
            then = "no fit machine followed" if pause is None else f"the job ran elsewhere {duration(pause)} later"
            yield plain(f"broken: {machine}, {one.lost.why}; given back; {then}; {dollars(one.usd)} for it")
            continue
        then = "it was not replaced" if pause is None else f"the job ran again {duration(pause)} later"
        ran = duration(one.ran_seconds)
        again = "" if one.repeated_seconds is None else f"; {_repeated(one.checkpoint, one.repeated_seconds)}"
        cost = f"{dollars(one.usd)} for it"
        yield plain(f"{one.lost.kind.value}: {machine}, after {ran} of the job; {then}{again}; {cost}")


def _repeated(checkpoint: str, seconds: float) -> str:
    if not checkpoint:
        return f"no checkpoint was stored, so {duration(seconds)} of the job are lost"
    return f"the last checkpoint, {checkpoint}, was {duration(seconds)} old"
