"""Quote a plan: what would run, where, and its cost. It stops before any request to a cloud."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.errors import BudgetError
from cvl_ci.model.plan import (
    RELEASE_MINUTES,
    SANDBOX,
    Alternative,
    Location,
    Offer,
    Quote,
    ResourceRequest,
    RunPlan,
    Spot,
)
from cvl_ci.ports import Prices
from cvl_ci.result.units import dollars, duration, size

SHORTEST_MINUTES = 10.0 + RELEASE_MINUTES
"""Fewer minutes buy no run: the machine boots, is set up, and is released again."""

SHORTEST_SANDBOX_MINUTES = 1.0
SHOWN_OFFERS = 8
_COUNTS = (1, 2, 4, 8, 16)
"""The GPU counts of the clouds' machines."""


def quote(plan: RunPlan, prices: Prices) -> Quote:
    """Return the quote. Raises BudgetError if max_cost cannot buy even a short run, or cannot be guaranteed."""
    offers = _offers(plan, prices, spot=plan.machines.spot)
    if not offers:
        return _unpriced(plan, prices)
    hourly = offers[0].hourly_usd * plan.machines.num_nodes
    minutes = plan.limits.deadline_minutes(hourly_usd=hourly)
    _check_budget(plan, offers[0], minutes)
    warnings = []
    if minutes < plan.limits.longest_minutes:
        warnings.append(
            f"max_cost ends it after {duration(minutes * 60)}, before max_runtime does "
            f"({duration(plan.limits.longest_minutes * 60)} with boot and release)."
        )
    return Quote(
        offers=offers,
        hourly_usd=hourly,
        max_usd=_most(plan, offers, minutes + plan.limits.keep_minutes),
        deadline_minutes=minutes,
        catalogue_date=prices.date,
        warnings=(*warnings, *_without_price(plan, prices)),
    )


def as_json(plan: RunPlan, quoted: Quote) -> str:
    """Return the quote for programs: always these keys and no others."""
    return json.dumps(
        {
            "example": plan.work.example,
            "preset": plan.work.preset,
            "accelerators": dict(plan.machines.needs.accelerators),
            "num_nodes": plan.machines.num_nodes,
            "commands": list(plan.work.commands),
            "image": plan.work.image,
            "files": [{"path": file.path, "bytes": file.bytes} for file in plan.files.staged],
            "not_sent": plan.files.not_sent,
            "offers": [_offer(offer) for offer in quoted.offers],
            "hourly_usd": None if quoted.hourly_usd is None else round(quoted.hourly_usd, 6),
            "max_usd": None if quoted.max_usd is None else round(quoted.max_usd, 4),
            "max_runtime_minutes": plan.limits.max_runtime_minutes,
            "warnings": [*plan.warnings, *quoted.warnings],
        },
        indent=2,
        ensure_ascii=False,
    )


def as_text(plan: RunPlan, quoted: Quote, prices: Prices) -> str:
    """Return the quote for a person, in plain text."""
    parts = [plan.title, _facts(plan)]
    if quoted.offers:
        parts += [_table(plan, quoted.offers), _cost(plan, quoted, prices)]
    parts += ["\n".join(f"warning: {text}" for text in (*plan.warnings, *quoted.warnings))]
    return "\n\n".join(part for part in parts if part)


def in_one_line(plan: RunPlan, quoted: Quote) -> str:
    """Return the plan and its possible cost, as the first line of a run."""
    if not quoted.offers or quoted.hourly_usd is None or quoted.max_usd is None:
        return f"{plan.title}: {machine(plan.machines.needs)}, price unknown"
    offer = quoted.offers[0]
    spot = " spot" if offer.spot else ""
    billed = "" if offer.cloud != SANDBOX else " at AWS's price; the sandbox bills nothing"
    return (
        f"{plan.title}: {_machines(plan, offer)}{spot} on {offer.cloud}/{offer.region}, "
        f"{dollars(quoted.hourly_usd)} an hour, at most {dollars(quoted.max_usd)}{billed}"
    )


def on_demand(needs: ResourceRequest, *, place: Location, prices: Prices) -> Sequence[Offer]:
    """Return the offers without spot at the place where it ran."""
    return prices.offers(needs, places=[place], spot=Spot.NEVER)


def machine(needs: ResourceRequest) -> str:
    """Return `L4:1 or A10G:1, 4+ vCPUs, 16+ GiB, 100 GB disk`."""
    if needs.alternatives:
        return (", else " if needs.in_order else "; or ").join(map(_alternative, needs.alternatives))
    gpus = " or ".join(f"{name}:{count:g}" for name, count in needs.accelerators.items())
    return ", ".join(
        part
        for part in (
            needs.instance_type or "",
            gpus or "no GPU",
            f"{needs.cpus:g}{'' if 'cpus' in needs.exact else '+'} vCPUs" if needs.cpus else "",
            f"{needs.memory_gib:g}{'' if 'memory_gib' in needs.exact else '+'} GiB" if needs.memory_gib else "",
            f"{needs.memory_per_vcpu:g}+ GiB per vCPU" if needs.memory_per_vcpu else "",
            f"{needs.disk_gb} GB disk",
        )
        if part
    )


def _alternative(one: Alternative) -> str:
    spot = " spot" if one.spot else ""
    return f"{machine(one.needs)}{spot} on {one.place}" if one.place else f"{machine(one.needs)}{spot}"


def _offers(plan: RunPlan, prices: Prices, *, spot: Spot) -> tuple[Offer, ...]:
    offers = prices.offers(plan.machines.needs, places=plan.machines.locations, spot=spot)
    return tuple(offer for offer in offers if offer.cloud not in plan.machines.unfit_clouds)


def _most(plan: RunPlan, offers: Sequence[Offer], minutes: float) -> float:
    """Return the price until the deadline on the most expensive machine that the run may get, within max_cost."""
    most = max(offer.hourly_usd for offer in offers) * plan.machines.num_nodes * minutes / 60
    return most if plan.limits.max_cost_usd is None else min(most, plan.limits.max_cost_usd)


def _without_price(plan: RunPlan, prices: Prices) -> list[str]:
    """Return a warning for each alternative that the quote does not include."""
    alone = [(one, replace(plan.machines.needs, alternatives=(one,))) for one in plan.machines.needs.alternatives]
    return [
        f"No price is known for {_alternative(one)}: the price is of the others."
        for one, needs in alone
        if not prices.offers(needs, places=plan.machines.locations, spot=plan.machines.spot)
    ]


def _unpriced(plan: RunPlan, prices: Prices) -> Quote:
    places = ", ".join(map(str, plan.machines.locations)) or "any cloud"
    spot = " as spot" if plan.machines.spot is Spot.ALWAYS else ""
    location = "" if plan.machines.needs.alternatives else f"{spot} on {places}"
    problem = f"No price is known for {machine(plan.machines.needs)}{location}"
    if there_is := what_there_is(plan, prices):
        problem += f" ({there_is})"
    if plan.limits.max_cost_usd is not None:
        raise BudgetError(
            f"{problem}, so max_cost cannot be guaranteed.",
            next_step="Give another cloud, region or GPU, or leave max_cost out and let max_runtime limit it.",
        )
    return Quote(
        offers=(),
        hourly_usd=None,
        max_usd=None,
        deadline_minutes=plan.limits.longest_minutes,
        catalogue_date=prices.date,
        warnings=(f"{problem}: its time is limited, but its cost is not.",),
    )


def what_there_is(plan: RunPlan, prices: Prices) -> str:
    """Return which machines with these GPUs have a price.

    It lists other counts at the run's places, and the same count elsewhere.
    """
    clouds_of: dict[str, list[str]] = {}
    for name, needed_count in plan.machines.needs.accelerators.items():
        for count in _COUNTS:
            places: tuple[Location, ...] = () if count == needed_count else plan.machines.locations
            offers = prices.offers(ResourceRequest(accelerators={name: count}), places=places, spot=Spot.NEVER)
            for cloud in dict.fromkeys(
                offer.cloud for offer in offers if offer.cloud not in plan.machines.unfit_clouds
            ):
                clouds_of.setdefault(f"{count} × {name}", []).append(cloud)
    return "; ".join(f"{gpus} on {', '.join(clouds)}" for gpus, clouds in clouds_of.items())


def _check_budget(plan: RunPlan, offer: Offer, minutes: float) -> None:
    least = SHORTEST_SANDBOX_MINUTES if offer.cloud == SANDBOX else SHORTEST_MINUTES
    least = min(least, plan.limits.longest_minutes)
    if plan.limits.max_cost_usd is None or minutes >= least:
        return
    hourly = offer.hourly_usd * plan.machines.num_nodes
    raise BudgetError(
        f"max_cost {dollars(plan.limits.max_cost_usd)} buys {duration(minutes * 60)} of {_machines(plan, offer)} at "
        f"{dollars(hourly)} an hour: not enough to boot, run a command and release the machine.",
        next_step=f"Allow at least {dollars(round(hourly * least / 60 + 0.005, 2))}, "
        "or choose a smaller GPU, fewer nodes, or spot.",
    )


def _offer(offer: Offer) -> dict[str, object]:
    return {
        "cloud": offer.cloud,
        "region": offer.region,
        "instance_type": offer.instance_type,
        "accelerators": dict(offer.accelerators),
        "spot": offer.spot,
        "hourly_usd": offer.hourly_usd,
    }


def _facts(plan: RunPlan) -> str:
    total = sum(file.bytes for file in plan.files.staged)
    count = len(plan.files.staged)
    limits = [f"{duration(plan.limits.max_runtime_minutes * 60)} on the machine"]
    if plan.limits.max_cost_usd is not None:
        limits.append(f"{dollars(plan.limits.max_cost_usd)} in all")
    if plan.limits.keep_minutes:
        after = "after the job" if plan.limits.keeps_after_success else "if the job fails"
        limits.append(f"kept {duration(plan.limits.keep_minutes * 60)} {after}")
    places_text = ", then ".join(map(str, plan.machines.locations)) or "any cloud, the cheapest first"
    rows = [
        ("setup", "\n".join(plan.work.setup_commands)),
        ("run", "\n".join(plan.work.run_commands)),
        ("in", "" if plan.work.directory == "." else plan.work.directory),
        ("image", plan.work.image or ""),
        ("needs", machine(plan.machines.needs)),
        ("nodes", str(plan.machines.num_nodes) if plan.machines.num_nodes > 1 else ""),
        ("turns", _turns(plan)),
        ("where", "" if plan.machines.needs.alternatives else places_text),
        ("files", f"{count} file{'' if count == 1 else 's'}, {size(total)}"),
        ("not sent", plan.files.not_sent),
        ("env", ", ".join(f"{name}={value}" for name, value in plan.variables.env.items())),
        ("secrets", ", ".join(plan.variables.secrets)),
        ("limits", ", ".join(limits)),
    ]
    under = "\n" + " " * 11
    return "\n".join(f"  {name:<8} {under.join(text.splitlines())}" for name, text in rows if text)


def _turns(plan: RunPlan) -> str:
    if plan.trials.base is None:
        return f"{plan.trials.repeat} on one machine" if plan.trials.repeat > 1 else ""
    return f"{plan.trials.repeat} of each, next to {plan.trials.base.ref} ({plan.trials.base.commit[:12]})"


def _table(plan: RunPlan, offers: Sequence[Offer]) -> str:
    rows = [("$/hour", "machine", "where", "", "has")]
    for offer in offers[:SHOWN_OFFERS]:
        gpus = [f"{count} × {name}" for name, count in offer.accelerators.items()]
        has = ", ".join([*gpus, f"{offer.vcpus:g} vCPUs", f"{offer.memory_gib:g} GiB"])
        nodes = f"{plan.machines.num_nodes} × " if plan.machines.num_nodes > 1 else ""
        hourly = f"{offer.hourly_usd * plan.machines.num_nodes:.3f}"
        place = f"{offer.cloud}/{offer.region}"
        rows.append((hourly, nodes + offer.instance_type, place, "spot" if offer.spot else "on-demand", has))
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    lines = [
        "  ".join([f"  {row[0]:>{widths[0]}}", *(f"{row[at]:<{widths[at]}}" for at in (1, 2, 3)), row[4]]).rstrip()
        for row in rows
    ]
    hidden_count = len(offers) - SHOWN_OFFERS
    return "\n".join([*lines, *([f"  and {hidden_count} more"] if hidden_count > 0 else [])])


def _cost(plan: RunPlan, quoted: Quote, prices: Prices) -> str:
    if quoted.hourly_usd is None or quoted.max_usd is None:
        return ""
    billed = "" if quoted.offers[0].cloud != SANDBOX else " if it were AWS; the sandbox bills nothing"
    longest = duration((quoted.deadline_minutes + plan.limits.keep_minutes) * 60)
    kept_when = "after the job" if plan.limits.keeps_after_success else "when the job fails"
    keep_text = f", and kept {kept_when}" if plan.limits.keep_minutes else ""
    most = f"at most {dollars(quoted.max_usd)} in {longest} with boot and release{keep_text}"
    first = f"  {dollars(quoted.hourly_usd)} an hour, {most}{billed}."
    dearest = max(offer.hourly_usd for offer in quoted.offers) * plan.machines.num_nodes
    failover_lines = (
        [f"  If that is not available, up to {dollars(dearest)} an hour."] if dearest > quoted.hourly_usd else []
    )
    return "\n".join([first, *failover_lines, *_other_price(plan, quoted, prices), f"  Prices: {prices.date}."])


def _other_price(plan: RunPlan, quoted: Quote, prices: Prices) -> list[str]:
    """Return what spot would save, or what a fallback from spot would cost."""
    if plan.machines.needs.alternatives:
        # Each of them has its own use of spot.
        return []
    first = quoted.offers[0]
    other = Spot.NEVER if first.spot else Spot.ALWAYS
    offers = _offers(plan, prices, spot=other)
    if not offers or quoted.hourly_usd is None:
        return []
    hourly = offers[0].hourly_usd * plan.machines.num_nodes
    kind = "On-demand" if first.spot else "On spot"
    return [
        f"  {kind} from {dollars(hourly)} an hour ({offers[0].instance_type}, {offers[0].cloud}/{offers[0].region})."
    ]


def _machines(plan: RunPlan, offer: Offer) -> str:
    return f"{plan.machines.num_nodes} × {offer.instance_type}" if plan.machines.num_nodes > 1 else offer.instance_type
