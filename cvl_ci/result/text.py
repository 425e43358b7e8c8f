"""Express one fact of an Outcome in a few words, for the terminal's summary and for the Markdown report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cvl_ci.model.checkpoint_plan import KeptCheckpoints
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.ledger import Cost
from cvl_ci.model.node_end import MOST_LEFT, GpuUse, NodeEnd
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE, Ending, Outcome
from cvl_ci.model.paired_comparison import Change, PairedComparison
from cvl_ci.model.release import KeptMachines, ProviderCheck, Release
from cvl_ci.model.runner_prices import RunnerPrice, minutes
from cvl_ci.model.storage import KeptBucket
from cvl_ci.result import ledger as ledger_text
from cvl_ci.result import units
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
    Ending.UNFIT: "The machine was broken",
    Ending.IDLE: "The job left its GPUs alone",
    Ending.STORAGE_FAILED: "The storage failed",
    Ending.DETACHED: "The job runs on without its run",
}


_VERDICTS = ("worse", "changed", "unsure", "better", "same", "no baseline")


def headline(outcome: Outcome) -> str:
    """Return one line on what happened. A machine that may still run comes first."""
    words, title = ending_text(outcome), plain(outcome.work.title)
    return (
        f"{words}: {title}" if accounted_for(outcome) else f"A MACHINE MAY STILL BE RUNNING: {title} ({words.lower()})"
    )


def ending_text(outcome: Outcome) -> str:
    """Return the ending with the job's own exit code. The run's exit code differs from it: 79 if a machine is left."""
    if outcome.ending is not Ending.FAILED:
        return ENDINGS[outcome.ending]
    comparison = outcome.measurements.comparison
    if comparison and comparison.worse and all(end.exit_code == 0 for end in outcome.machines.nodes):
        return "Worse than its base"
    code = outcome.exit_code
    if code == EXIT_NOT_PROVED_GONE:
        code = next((end.exit_code for end in outcome.machines.nodes if end.exit_code), code)
    return f"{ENDINGS[outcome.ending]} with exit code {code}"


def kept_machines(outcome: Outcome) -> KeptMachines | None:
    """Return the machines that run on because the user asked for it, until a known time."""
    return outcome.release.kept if outcome.release is not None else None


def accounted_for(outcome: Outcome) -> bool:
    """Return whether the machines are gone, or kept until a known time, so that no alarm is needed."""
    return proved_gone(outcome) or kept_machines(outcome) is not None


def proved_gone(outcome: Outcome) -> bool:
    """Return whether no machine was ever requested, or every provider shows none of them any more."""
    if outcome.release is None:
        return outcome.machines.launch is None and not outcome.machines.attempts
    return outcome.release.gone or not outcome.release.needed


def machine_line(launch: Launch) -> str:
    """Return `aws/us-east-1a · g6.xlarge · L4:1 · 2 nodes · spot · $0.24 an hour each`."""
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


def attempt(one: Attempt) -> str:
    kind = "spot" if one.spot else "on-demand"
    result = "it ran here" if one.error is None else plain(one.error)
    return f"{one.where} · {one.instance_type} · {kind} · {dollars(one.hourly_usd)} an hour: {result}"


def node(end: NodeEnd) -> str:
    code = "did not live to say how it ended" if end.exit_code is None else f"exited {end.exit_code}"
    return f"rank {end.rank} {code}{' at the time limit' if end.timed_out else ''}"


def left_behind(nodes: Sequence[NodeEnd]) -> str | None:
    """Describe the processes that the machines ended after the job.

    The job chose their names: they are made harmless and cut here.
    """
    names = [plain(name) for end in nodes for name in end.left_behind]
    if not names:
        return None
    listing = ", ".join(dict.fromkeys(names[:MOST_LEFT]))
    processes, them = ("1 process", "it") if len(names) == 1 else (f"{len(names)} processes", "them")
    return (
        f"A command had ended and left {processes} running in the background ({listing}). The machine ended {them} "
        "some seconds later. Let a command wait for what it starts."
    )


def file_count(outcome: Outcome) -> str:
    """Return `3 files, 31.2 kB in cvl-outputs/NAME`."""
    count = len(outcome.files.fetched)
    total = size(sum(file.bytes for file in outcome.files.fetched))
    folder = f" in {plain(outcome.files.directory)}" if outcome.files.directory else ""
    return f"{count} {'file' if count == 1 else 'files'}, {total}{folder}"


def time(outcome: Outcome) -> str:
    """Return the whole duration and then its phases."""
    phases = " · ".join(f"{name} {duration(seconds)}" for name, seconds in outcome.timing.phases.items())
    total = duration(outcome.timing.duration_seconds)
    return f"{total}: {phases}" if phases else total


def money(cost: Cost) -> str:
    """Return the measured cost next to the estimate. On the sandbox it adds that nothing is billed."""
    parts = [
        f"at most {dollars(cost.usd)}" if cost.ledger.is_bound or cost.kept_usd is not None else dollars(cost.usd),
        f"{duration(cost.seconds)} at {dollars(cost.hourly_usd)} an hour",
    ]
    if shares := ledger_text.parts(cost.ledger):
        parts.append(shares)
    if unknown := ledger_text.missing(cost.ledger):
        parts.append(f"without {unknown}, whose price is unknown")
    if cost.estimated_usd is not None:
        parts.append(f"the quote said at most {dollars(cost.estimated_usd)}")
    saved = saving(cost)
    if saved is not None:
        parts.append(saved)
    text = " · ".join(parts)
    return text if cost.billed else f"nothing is billed: emulated price {text}"


def runner(price: RunnerPrice, seconds: float) -> str:
    """Return the cost of GitHub's runner during one step. The run's cost does not include it."""
    return f"{minutes(seconds)} min, about {dollars(price.usd(seconds))}"


def gpu_use(use: GpuUse) -> str:
    """Return `15,030 of 23,034 MiB at most, 71 % busy, 98 % at most`."""
    parts = [f"{use.memory_mib:,} of {use.memory_total_mib:,} MiB at most"]
    if use.utilization is not None and use.utilization_peak is not None:
        parts += [f"{use.utilization:.0f} % busy", f"{use.utilization_peak} % at most"]
    parts += [f"over {use.gpus} GPUs"] if use.gpus > 1 else []
    return ", ".join(parts)


def change(one: Change) -> str:
    """Return `time.trial +20.0 % worse (between +17.1 % and +22.8 %)`.

    cvl-ci writes the verdict; the name is a machine's.
    """
    moved = "" if one.change is None else f" {units.change(one.change)}"
    why = f" ({one.why})" if one.why else ""
    return f"{plain(one.metric)}{moved} {one.verdict}{why}"


def paired_lines(pairing: PairedComparison) -> list[str]:
    """Return the base, the order of the trials, and the verdicts, the worst first."""
    first = f"in turn with {plain(pairing.ref)} ({pairing.commit[:12]}) on the same machine"
    if pairing.reason:
        return [f"not compared, {first}: {plain(pairing.reason)}"]
    ordered = sorted(pairing.changes, key=lambda one: (_VERDICTS.index(one.verdict), -abs(one.change or 0)))
    return [f"{first}, in this order: {' '.join(pairing.order)}", *map(change, ordered)]


def nothing_to_list(pairing: PairedComparison) -> str:
    """Return the text for a comparison in which no metric is worse, changed or unsure."""
    if pairing.reason:
        return plain(pairing.reason)
    return (
        f"nothing is worse than {plain(pairing.ref)}"
        if pairing.sound
        else "nothing was judged: no metric has a direction"
    )


def saving(cost: Cost) -> str | None:
    """Return how much spot saved against the same machine on demand; None if it saved nothing."""
    full = cost.on_demand_hourly_usd
    if full is None or full <= cost.hourly_usd:
        return None
    usd = (full - cost.hourly_usd) * cost.seconds / 3600
    return f"spot saved {dollars(usd)} ({units.percent(1 - cost.hourly_usd / full)})"


def released(outcome: Outcome) -> list[str]:
    """Return the proof, or its gaps: one line for each question to a provider."""
    release = outcome.release
    if release is None:
        return [] if proved_gone(outcome) else ["there is no proof that they are gone"]
    if not release.needed:
        return ["the run requested none"]
    if release.kept is not None:
        return _kept_lines(outcome, release.kept)
    head = f"gone, proved at {moment(release.at)}" if release.gone else _may_cost(outcome, release.at)
    checks = (answer(check) for check in release.asked)
    return [head, *checks, *map(kept_bucket, release.buckets), *kept_checkpoints(release), *unproved(release)]


def kept_checkpoints(release: Release) -> list[str]:
    """Return a line on the checkpoints that stay: their place, the newest, their size and price."""
    staying: KeptCheckpoints | None = release.checkpoints
    if staying is None:
        return []
    place = plain(str(staying.place))
    if staying.stored is None or staying.monthly_usd is None:
        return [f"{place} stays with the run's checkpoints; their size is not known, and S3 bills them"]
    newest, content = staying.stored.newest, staying.stored.content
    if newest is None and not content.files:
        return [f"{place} has no checkpoint: none was complete"]
    least = "" if content.is_complete else "at least "
    name = f"the newest is {plain(newest.name)}" if newest else "there is no whole one"
    price = f"{dollars(staying.monthly_usd)} a month at S3 Standard's price"
    return [f"{place} stays with the run's checkpoints: {name}; {least}{size(content.bytes)}, {price}"]


def kept_bucket(bucket: KeptBucket) -> str:
    """Return `s3://name stays, as the run asked: 3 files, 1.2 GB, $0.03 a month`."""
    name, content = plain(str(bucket.bucket)), bucket.content
    if content is None or bucket.monthly_usd is None:
        return f"{name} stays, as the run asked; its size is not known, and it is billed until you remove it"
    least = "" if content.is_complete else "at least "
    files = f"{content.files} file{'' if content.files == 1 else 's'}"
    price = f"{dollars(bucket.monthly_usd)} a month at S3 Standard's price"
    return f"{name} stays, as the run asked: {least}{files}, {size(content.bytes)}, {price}"


def answer(check: ProviderCheck) -> str:
    place = plain(f"{check.provider} {check.region}".strip())
    kinds, skipped = ", ".join(check.kinds), "".join(f"; not looked at: {plain(reason)}" for reason in check.skipped)
    if check.error is not None:
        return f"{place} did not answer about {kinds}: {plain(check.error)}"
    stays = f"; stays on purpose: {plain(', '.join(check.stays))}" if check.stays else ""
    stays += f"; all runs of the repository share, free: {plain(', '.join(check.shared))}" if check.shared else ""
    if check.leftovers:
        return f"{place} still shows {plain(', '.join(check.leftovers))}{stays}"
    return f"{place} shows 0 left ({kinds}{skipped}){stays}"


def check_fields(check: ProviderCheck) -> dict[str, object]:
    """Return the fields of a check under their names in JSON."""
    return {{"leftovers": "left"}.get(name, name): value for name, value in vars(check).items()}


def unproved(release: Release) -> list[str]:
    """Name the clouds that cvl-ci cannot ask here. They never count as clean."""
    return [f"cvl-ci cannot ask {plain(cloud)}: check there for machines yourself" for cloud in release.unproved]


def flat(metrics: Mapping[str, object], *, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested mappings as dotted names, with harmless strings."""
    for name, value in metrics.items():
        path = plain(f"{prefix}{name}")
        if isinstance(value, Mapping):
            yield from flat(value, prefix=f"{path}.")
        else:
            yield path, plain(value) if isinstance(value, str) else value


def down_command(outcome: Outcome) -> str:
    """Return a command for any computer. It names the cloud, so that no record is needed there."""
    launch = outcome.machines.launch
    return f"cvl-ci down {outcome.machines.cluster} --cloud {launch.cloud if launch else 'aws'}"


def still_to_come(outcome: Outcome) -> str:
    """Return `up to $0.0480 more at $0.096 an hour`, or an empty string if there is no price."""
    cost = outcome.cost
    if cost is None or cost.kept_usd is None:
        return ""
    text = f"up to {dollars(cost.kept_usd)} more at {dollars(cost.hourly_usd)} an hour"
    return text if cost.billed else f"{text} if it were AWS: nothing is billed"


def _kept_lines(outcome: Outcome, machines: KeptMachines) -> list[str]:
    price = still_to_come(outcome)
    why = "as its job failed" if outcome.ending is Ending.FAILED else "after its job"
    why = "for its service" if outcome.machines.service else why
    why = "at most, with its job" if outcome.ending is Ending.DETACHED else why
    why = f"for the next run of reuse {outcome.machines.use.key}" if outcome.machines.use else why
    # The next run uses the machine, and shares it with no person.
    ways_in = () if outcome.machines.use else machines.ways_in
    return [
        f"kept until {moment(machines.until)}, {why}{f': {price}' if price else ''}",
        *map(plain, ways_in),
        f"ended sooner by: {down_command(outcome)}",
        *kept_bucket_lines(outcome, machines),
    ]


def kept_bucket_lines(outcome: Outcome, machines: KeptMachines) -> list[str]:
    """Return the buckets of kept machines: those that wait for `down`, and those that stay as the run asked."""
    command = down_command(outcome)
    waiting = [
        f"{plain(str(bucket))} does not end with the machine, and is billed until its end; ended by: {command}"
        for bucket in machines.buckets
    ]
    if outcome.release is None:
        return waiting
    return [*waiting, *map(kept_bucket, outcome.release.buckets), *kept_checkpoints(outcome.release)]


def _may_cost(outcome: Outcome, at: float) -> str:
    """Add the price to machines that are not proved gone, if anybody pays for them."""
    text = f"NOT PROVED GONE at {moment(at)}"
    launch = outcome.machines.launch
    if launch is None or (outcome.cost is not None and not outcome.cost.billed):
        return text
    return f"{text}: may go on at {dollars(launch.hourly_usd * launch.num_nodes)} an hour"
