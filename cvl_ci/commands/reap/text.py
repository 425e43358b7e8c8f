"""Write the lines of `reap`. A dry run and a real one report the same machines, in another mood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cvl_ci.commands.reap.reap import Reaped, Suspect
from cvl_ci.errors import CvlError, LeftoversFound, NotProvedGone
from cvl_ci.model.release import Release
from cvl_ci.ports import Resource
from cvl_ci.result import ledger, text
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, duration, moment

SHOWN = 20
"""The number of names in one line; a count covers the rest."""

SHOWN_SILENCES = 3
"""The number of missing answers in an error; the lines above it hold all."""


def lines(reaped: Reaped) -> Iterator[str]:
    for suspect in reaped.due:
        yield f"{_verb(reaped, suspect)}: {_suspect(suspect, reaped.at)}"
    for suspect in reaped.marked:
        yield f"marked, and left in its grace: {_suspect(suspect, reaped.at)}"
    for resource in reaped.unlabelled:
        name = f"{resource.provider} {resource.region} {resource.id}"
        yield f"named like ours, but without our labels, so it stays untouched: {plain(name)}; check who owns it"
    yield (
        f"{_count(reaped.living, 'lease')} still in use and untouched; "
        f"{_count(reaped.foreign_count, 'resource')} of other owners; last asked at {moment(reaped.asked_at)}"
    )
    for check in reaped.checks:
        living = f"{len(check.leftovers)} of cvl-ci" if check.error is None and check.leftovers else ""
        yield text.answer(replace(check, leftovers=(living,) if living else ()))
    yield from text.unproved(Release(gone=False, at=reaped.at, unproved=reaped.unproved))


def verdict(reaped: Reaped) -> CvlError | None:
    """Return the error of a sweep, or None if no resource had outlived its run.

    A removal is an error, so that a person fixes its cause.
    """
    usd = dollars(cost(reaped) or 0.0)
    so_far = f"They have cost {usd} so far with disks and addresses, at the catalogue's prices, as far as it has them."
    if reaped.remaining:
        return NotProvedGone(
            f"Not proved gone: {_names(reaped.remaining)}.",
            money=f"It may still be running and billed. {so_far}",
            next_step="Run `cvl-ci reap` again. End by hand at the provider all that it names twice.",
        )
    if not reaped.proved:
        return NotProvedGone(
            f"Not every cloud answered, so nothing is proved. {_silences(reaped)}",
            money=f"A machine or a bucket there is billed.{f' {so_far}' if reaped.due else ''}",
            next_step="Check which cloud gave no answer and why. `cvl-ci check` helps to fix it. Then run this again.",
        )
    if not reaped.due:
        return None
    what = "would be removed" if reaped.dry_run else "had outlived their runs and are removed"
    count = sum(len(suspect.resources) for suspect in reaped.due)
    return LeftoversFound(
        f"{_count(len(reaped.due), 'lease')} with {_count(count, 'resource')} {what}.",
        money=so_far + (" They are still billed." if reaped.dry_run else " They are billed no more."),
        next_step=f"Their runs did not take them down in time: check the post step of {_runs(reaped)}.",
    )


def title(reaped: Reaped) -> str:
    due = _count(len(reaped.due), "lease")
    if not reaped.proved:
        return "A machine may still be running"
    if reaped.due:
        return f"{due} would be ended" if reaped.dry_run else f"{due} had outlived their runs, and are gone"
    return "Nothing has outlived its run"


def ending(reaped: Reaped) -> str:
    """Return one word for a workflow's `if:`."""
    if not reaped.proved:
        return "not_proved_gone"
    return ("leftovers_found" if reaped.dry_run else "leftovers_removed") if reaped.due else "nothing_left"


def cost(reaped: Reaped) -> float | None:
    """Return the known cost so far; None if there was nothing to end."""
    return sum(suspect.usd or 0.0 for suspect in reaped.due) if reaped.due else None


def _verb(reaped: Reaped, suspect: Suspect) -> str:
    if reaped.dry_run:
        return "would remove"
    ids = {resource.id for resource in reaped.remaining}
    return "NOT REMOVED" if any(resource.id in ids for resource in suspect.resources) else "removed"


def _suspect(suspect: Suspect, now: float) -> str:
    parts = ledger.parts(suspect.ledger)
    cost = "at an unknown price" if suspect.usd is None else f"{dollars(suspect.usd)} so far"
    cost += f" ({parts})" if suspect.usd is not None and parts else ""
    over = f"{suspect.why}, for {duration(max(0.0, now - suspect.over_at))}"
    return plain(
        f"{suspect.lease} (owner {suspect.owner}, run {suspect.run}) {over}: {_names(suspect.resources)}, {cost}"
    )


def _runs(reaped: Reaped) -> str:
    runs = list(dict.fromkeys(suspect.run for suspect in reaped.due if suspect.run))
    ending = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
    return plain(f"run {', '.join(runs[:SHOWN])}{ending}") if runs else "their runs"


def _silences(reaped: Reaped) -> str:
    first = reaped.silent[:SHOWN_SILENCES]
    hidden = len(reaped.silent) - len(first)
    return plain("; ".join(first) + (f"; and {hidden} more" if hidden else "")) + "."


def _names(resources: Sequence[Resource]) -> str:
    hidden_text = f" and {len(resources) - SHOWN} more" if len(resources) > SHOWN else ""
    return plain(
        ", ".join(f"{resource.id} in {resource.provider}/{resource.region}" for resource in resources[:SHOWN])
        + hidden_text
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
