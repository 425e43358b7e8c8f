"""One fact of an Outcome in a few words: what the terminal's summary and the Markdown report both say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cvl_ci.model.outcome import (
    EXIT_NOT_PROVED_GONE,
    MOST_LEFT,
    Asked,
    Attempt,
    Beside,
    Change,
    Cost,
    Ending,
    GpuUse,
    Kept,
    Launch,
    NodeEnd,
    Outcome,
    Release,
)
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, duration, moment, size

ENDINGS = {
    Ending.SUCCEEDED: "Succeeded",
    Ending.FAILED: "The job failed",
    Ending.TIMED_OUT: "Timed out",
    Ending.OVER_BUDGET: "Stopped at its budget",
    Ending.PREEMPTED: "The spot machine was taken away",
    Ending.CANCELLED: "Cancelled",
    Ending.NEVER_STARTED: "Never started",
}


_VERDICTS = ("worse", "changed", "unsure", "better", "same", "no baseline")


def headline(outcome: Outcome) -> str:
    """What happened, in one line; a machine that may still run comes before all else."""
    words, title = ended(outcome), plain(outcome.title)
    return (
        f"{words}: {title}" if accounted_for(outcome) else f"A MACHINE MAY STILL BE RUNNING: {title} ({words.lower()})"
    )


def ended(outcome: Outcome) -> str:
    """With the job's own code, which the run's exit code need not be: that is 79 when a machine is left."""
    if outcome.ending is not Ending.FAILED:
        return ENDINGS[outcome.ending]
    if outcome.beside is not None and outcome.beside.worse and all(end.exit_code == 0 for end in outcome.nodes):
        return "Worse than its base"
    code = outcome.exit_code
    if code == EXIT_NOT_PROVED_GONE:
        code = next((end.exit_code for end in outcome.nodes if end.exit_code), code)
    return f"{ENDINGS[outcome.ending]} with exit code {code}"


def kept(outcome: Outcome) -> Kept | None:
    """Machines that run on because that was asked for, until an hour that is known."""
    return outcome.release.kept if outcome.release is not None else None


def accounted_for(outcome: Outcome) -> bool:
    """Gone, or kept until a known hour: nobody need be alarmed."""
    return proved_gone(outcome) or kept(outcome) is not None


def proved_gone(outcome: Outcome) -> bool:
    """Nothing was ever asked for, or every provider asked shows nothing of it any more."""
    if outcome.release is None:
        return outcome.launch is None and not outcome.attempts
    return outcome.release.gone or not outcome.release.needed


def where(launch: Launch) -> str:
    """`aws/us-east-1a · g6.xlarge · L4:1 · 2 nodes · spot · $0.24 an hour each`."""
    accelerators = [f"{name}:{count}" for name, count in launch.accelerators.items()]
    parts = [
        f"{launch.cloud}/{launch.zone or launch.region}",
        launch.instance_type,
        *accelerators,
        *([f"{launch.num_nodes} nodes"] if launch.num_nodes > 1 else []),
        "spot" if launch.spot else "on-demand",
        f"{dollars(launch.hourly_usd)} an hour{' each' if launch.num_nodes > 1 else ''}",
    ]
    return plain(" · ".join(parts))


def attempt(tried: Attempt) -> str:
    kind = "spot" if tried.spot else "on-demand"
    how = "it ran here" if tried.error is None else plain(tried.error)
    return f"{tried.where} · {tried.instance_type} · {kind} · {dollars(tried.hourly_usd)} an hour: {how}"


def node(end: NodeEnd) -> str:
    code = "did not live to say how it ended" if end.exit_code is None else f"exited {end.exit_code}"
    return f"rank {end.rank} {code}{' at the time limit' if end.timed_out else ''}"


def left_behind(nodes: Sequence[NodeEnd]) -> str | None:
    """What the machines ended after the job. The names are the job's: they stand here bounded and inert."""
    names = [plain(name) for end in nodes for name in end.left_behind]
    if not names:
        return None
    shown = ", ".join(dict.fromkeys(names[:MOST_LEFT]))
    processes, them = ("1 process", "it") if len(names) == 1 else (f"{len(names)} processes", "them")
    return (
        f"A command had ended and left {processes} running in the background ({shown}). The machine ended {them} "
        "some seconds later. Let a command wait for what it starts."
    )


def file_count(outcome: Outcome) -> str:
    """`3 files, 31.2 kB in cvl-outputs/NAME`."""
    count = len(outcome.files)
    total = size(sum(file.bytes for file in outcome.files))
    folder = f" in {plain(outcome.outputs_directory)}" if outcome.outputs_directory else ""
    return f"{count} {'file' if count == 1 else 'files'}, {total}{folder}"


def time(outcome: Outcome) -> str:
    """The whole, then where it went."""
    phases = " · ".join(f"{name} {duration(seconds)}" for name, seconds in outcome.phases.items())
    return f"{duration(outcome.duration_seconds)}: {phases}" if phases else duration(outcome.duration_seconds)


def money(cost: Cost) -> str:
    """Measured against estimated; on the sandbox it says that nobody pays."""
    parts = [
        dollars(cost.usd) if cost.kept_usd is None else f"at most {dollars(cost.usd)}",
        f"{duration(cost.seconds)} at {dollars(cost.hourly_usd)} an hour",
    ]
    if cost.estimated_usd is not None:
        parts.append(f"the quote said at most {dollars(cost.estimated_usd)}")
    saved = saving(cost)
    if saved is not None:
        parts.append(saved)
    text = " · ".join(parts)
    return text if cost.billed else f"nothing is billed: emulated price {text}"


def gpu_use(use: GpuUse) -> str:
    """`15,030 of 23,034 MiB at most, 71 % busy, 98 % at most`"""
    parts = [f"{use.memory_mib:,} of {use.memory_total_mib:,} MiB at most"]
    if use.utilization is not None and use.utilization_peak is not None:
        parts += [f"{use.utilization:.0f} % busy", f"{use.utilization_peak} % at most"]
    parts += [f"over {use.gpus} GPUs"] if use.gpus > 1 else []
    return ", ".join(parts)


def change(one: Change) -> str:
    """`time.turn +20.0 % worse (between +17.1 % and +22.8 %)`; the verdict of ours, the name a machine's."""
    moved = "" if one.change is None else f" {one.change:+.1%}".replace("%", " %")
    why = f" ({one.why.replace('%', ' %')})" if one.why else ""
    return f"{plain(one.metric)}{moved} {one.verdict}{why}"


def beside(told: Beside) -> list[str]:
    """Against what, in which order, and the verdicts, the worst first."""
    first = f"in turn with {plain(told.ref)} ({told.commit[:12]}) on the same machine"
    if told.reason:
        return [f"not compared, {first}: {plain(told.reason)}"]
    ordered = sorted(told.changes, key=lambda one: (_VERDICTS.index(one.verdict), -abs(one.change or 0)))
    return [f"{first}, in this order: {' '.join(told.order)}", *map(change, ordered)]


def nothing_to_list(told: Beside) -> str:
    """Say what may be said where no metric got worse, changed, or cannot be judged."""
    if told.reason:
        return plain(told.reason)
    return f"nothing is worse than {plain(told.ref)}" if told.sound else "nothing was judged: no metric has a direction"


def saving(cost: Cost) -> str | None:
    """What spot saved against the same machine on demand; None where nothing was."""
    full = cost.on_demand_hourly_usd
    if full is None or full <= cost.hourly_usd:
        return None
    usd = (full - cost.hourly_usd) * cost.seconds / 3600
    return f"spot saved {dollars(usd)} ({1 - cost.hourly_usd / full:.0%})"


def released(outcome: Outcome) -> list[str]:
    """The proof, or what is missing of it, a line for each question asked."""
    release = outcome.release
    if release is None:
        return [] if proved_gone(outcome) else ["there is no proof that they are gone"]
    if not release.needed:
        return ["none was ever asked for"]
    if release.kept is not None:
        return _kept(outcome, release.kept)
    head = f"gone, proved at {moment(release.at)}" if release.gone else _may_cost(outcome, release.at)
    return [head, *(answer(asked) for asked in release.asked), *unproved(release)]


def answer(asked: Asked) -> str:
    place = plain(f"{asked.provider} {asked.region}".strip())
    kinds, skipped = ", ".join(asked.kinds), "".join(f"; not looked at: {plain(each)}" for each in asked.skipped)
    if asked.error is not None:
        return f"{place} did not answer about {kinds}: {plain(asked.error)}"
    if asked.left:
        return f"{place} still shows {plain(', '.join(asked.left))}"
    return f"{place} shows 0 left ({kinds}{skipped})"


def unproved(release: Release) -> list[str]:
    """Clouds that nobody here can ask: never counted as clean."""
    return [f"{plain(cloud)} cannot be asked: look there yourself" for cloud in release.unproved]


def flat(metrics: Mapping[str, object], *, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings as dotted names; strings made plain."""
    for name, value in metrics.items():
        path = plain(f"{prefix}{name}")
        if isinstance(value, Mapping):
            yield from flat(value, prefix=f"{path}.")
        else:
            yield path, plain(value) if isinstance(value, str) else value


def down_command(outcome: Outcome) -> str:
    """From any machine: where to look is said, so that no record is needed there."""
    return f"cvl-ci down {outcome.cluster} --cloud {outcome.launch.cloud if outcome.launch else 'aws'}"


def still_to_come(outcome: Outcome) -> str:
    """`up to $0.0480 more at $0.096 an hour`; nothing where there is no price."""
    cost = outcome.cost
    if cost is None or cost.kept_usd is None:
        return ""
    text = f"up to {dollars(cost.kept_usd)} more at {dollars(cost.hourly_usd)} an hour"
    return text if cost.billed else f"{text} if it were AWS: nothing is billed"


def _kept(outcome: Outcome, machines: Kept) -> list[str]:
    price = still_to_come(outcome)
    return [
        f"kept until {moment(machines.until)}, as its job failed{f': {price}' if price else ''}",
        *map(plain, machines.ways_in),
        f"ended sooner by: {down_command(outcome)}",
    ]


def _may_cost(outcome: Outcome, at: float) -> str:
    """What stays unproved may go on costing, where anybody pays at all."""
    said = f"NOT PROVED GONE at {moment(at)}"
    launch = outcome.launch
    if launch is None or (outcome.cost is not None and not outcome.cost.billed):
        return said
    return f"{said}: may go on at {dollars(launch.hourly_usd * launch.num_nodes)} an hour"
