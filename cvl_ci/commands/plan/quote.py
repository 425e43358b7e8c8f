"""Quote a plan: what would run, where, and its cost. It stops before any request to a cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.commands.plan import bounds, machine_types, month
from cvl_ci.commands.prices import doubts
from cvl_ci.errors import BudgetError, InputProblem, RequestError
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.offer import Offer, Quote
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot
from cvl_ci.ports import Prices
from cvl_ci.result.units import dollars, duration

SHORTEST_MINUTES = 10.0 + RELEASE_MINUTES
"""Fewer minutes buy no run: the machine boots, is set up, and is released again."""

SHORTEST_SANDBOX_MINUTES = 1.0
_COUNTS = (1, 2, 4, 8, 16)
"""The GPU counts of the clouds' machines."""


def quote(plan: RunPlan, prices: Prices) -> Quote:
    """Return the quote.

    Raise BudgetError if max_cost cannot buy even a short run, or cannot be guaranteed, or if the repository's budget of
    the month may be exceeded. Raise RequestError if the machine does not exist.
    """
    quoted = _quote(plan, prices)
    return replace(quoted, warnings=(*quoted.warnings, *month.checked(plan, quoted)))


def _quote(plan: RunPlan, prices: Prices) -> Quote:
    offers = offers_of(plan, prices, spot=plan.machines.spot)
    if not offers:
        return _unpriced(plan, prices)
    dearest = bounds.most_expensive(plan, offers)
    # A controller takes any of them without a word, so the dearest one bounds its time.
    reference = dearest if plan.has_controller else offers[0]
    hourly = bounds.most_hourly_usd(plan, dearest) if plan.has_controller else bounds.hourly_usd(plan, offers[0])
    minutes = plan.limits.deadline_minutes(hourly_usd=hourly)
    _check_budget(plan, reference, minutes)
    warnings = [_ends_early(plan, minutes)] if minutes < plan.limits.longest_minutes else []
    clouds = list(dict.fromkeys(offer.cloud for offer in offers))
    dearest_usd = bounds.most_usd(plan, dearest)
    return Quote(
        offers=offers,
        hourly_usd=offers[0].hourly_usd * plan.machines.num_nodes,
        first_usd=bounds.first_usd(plan, offers[0]),
        dearest_usd=dearest_usd,
        max_usd=bounds.capped_by_max_cost(plan, dearest_usd),
        deadline_minutes=_deadline_minutes(plan, offers),
        catalogue_date=prices.date_of(clouds),
        warnings=(*warnings, *_without_price(plan, prices), *_doubtful(prices, clouds, offers)),
    )


def _deadline_minutes(plan: RunPlan, offers: Sequence[Offer]) -> float:
    """Return the minutes of the lease. A machine of cvl-ci's own gets an earlier end by its price, once it is known."""
    if plan.has_controller:
        hourly = bounds.most_hourly_usd(plan, bounds.most_expensive(plan, offers))
        return plan.limits.deadline_minutes(hourly_usd=hourly)
    return max(plan.limits.deadline_minutes(hourly_usd=bounds.hourly_usd(plan, offer)) for offer in offers)


def _ends_early(plan: RunPlan, minutes: float) -> str:
    return (
        f"max_cost ends it after {duration(minutes * 60)}, before max_runtime does "
        f"({duration(plan.limits.longest_minutes * 60)} with boot and release)."
    )


def _doubtful(prices: Prices, clouds: Sequence[str], offers: Sequence[Offer]) -> list[str]:
    """Return the warnings about prices that are old, of an unknown day, or not believed."""
    age = prices.age_warning(clouds)
    return [*([age] if age else []), *doubts(offers)]


def on_demand(needs: ResourceRequest, *, location: Location, prices: Prices) -> Sequence[Offer]:
    """Return the offers without spot at the place where it ran."""
    return prices.offers(needs, locations=[location], spot=Spot.NEVER)


def machine(needs: ResourceRequest) -> str:
    """Return `L4:1 or A10G:1, 4+ vCPUs, 16+ GiB, 100 GB disk`."""
    between = ", else " if needs.in_order else " or "
    if not needs.alternatives:
        return _machine(needs, gpus=_gpus([needs], between))
    first = needs.alternatives[0]
    if all(_without_gpus(one) == _without_gpus(first) for one in needs.alternatives):
        return _alternative(first, gpus=_gpus([one.needs for one in needs.alternatives], between))
    texts = [_alternative(one, gpus=_gpus([one.needs], between)) for one in needs.alternatives]
    return (", else " if needs.in_order else "; or ").join(texts)


def _gpus(requests: Sequence[ResourceRequest], between: str) -> str:
    return between.join(f"{name}:{count:g}" for one in requests for name, count in one.accelerators.items())


def _without_gpus(one: Alternative) -> Alternative:
    return replace(one, needs=replace(one.needs, accelerators={}, unnamed=frozenset()))


def _machine(needs: ResourceRequest, *, gpus: str) -> str:
    return ", ".join(
        part
        for part in (
            needs.instance_type or "",
            gpus or ("" if needs.instance_type else "no GPU"),
            f"{needs.cpus:g}{'' if 'cpus' in needs.exact else '+'} vCPUs" if needs.cpus else "",
            f"{needs.memory_gib:g}{'' if 'memory_gib' in needs.exact else '+'} GiB" if needs.memory_gib else "",
            f"{needs.memory_per_vcpu:g}+ GiB per vCPU" if needs.memory_per_vcpu else "",
            f"{needs.disk_gb} GB disk",
        )
        if part
    )


def _alternative(one: Alternative, *, gpus: str = "") -> str:
    text = _machine(one.needs, gpus=gpus or _gpus([one.needs], " or "))
    spot = " spot" if one.spot else ""
    return f"{text}{spot} on {one.location}" if one.location else f"{text}{spot}"


def offers_of(plan: RunPlan, prices: Prices, *, spot: Spot) -> tuple[Offer, ...]:
    """Return the offers of a plan with another use of spot."""
    offers = prices.offers(plan.machines.needs, locations=plan.machines.locations, spot=spot)
    return tuple(offer for offer in offers if offer.cloud not in plan.machines.unfit_clouds)


def _without_price(plan: RunPlan, prices: Prices) -> list[str]:
    """Return a warning for each alternative that the quote does not include."""
    alone = [(one, replace(plan.machines.needs, alternatives=(one,))) for one in plan.machines.needs.alternatives]
    return [
        f"No price is known for {_alternative(one)}: the price is of the others."
        for one, needs in alone
        if not prices.offers(needs, locations=plan.machines.locations, spot=plan.machines.spot)
    ]


def _unpriced(plan: RunPlan, prices: Prices) -> Quote:
    places = ", ".join(map(str, plan.machines.locations)) or "any cloud"
    spot = " as spot" if plan.machines.spot is Spot.ALWAYS else ""
    location = "" if plan.machines.needs.alternatives else f"{spot} on {places}"
    problem = f"No price is known for {machine(plan.machines.needs)}{location}"
    if alternatives := alternatives_text(plan, prices):
        problem += f" ({alternatives})"
    if _is_impossible(plan, prices):
        mistake = InputProblem(field="gpu", value=machine(plan.machines.needs), problem=f"does not exist{location}")
        if alternatives:
            mistake = replace(mistake, problem=f"{mistake.problem} ({alternatives})")
        raise RequestError([mistake])
    doubtful_types = machine_types.doubts(plan, prices)
    if plan.limits.max_cost_usd is not None:
        raise BudgetError(
            " ".join([f"{problem}, so max_cost cannot be guaranteed.", *doubtful_types]),
            next_step="Give another cloud, region, GPU or machine type, or leave max_cost out and let max_runtime "
            "limit it.",
        )
    return Quote(
        offers=(),
        hourly_usd=None,
        first_usd=None,
        dearest_usd=None,
        max_usd=None,
        deadline_minutes=plan.limits.longest_minutes,
        catalogue_date=prices.date,
        warnings=(f"{problem}: its time is limited, but its cost is not.", *doubtful_types),
    )


def _is_impossible(plan: RunPlan, prices: Prices) -> bool:
    """Return whether no cloud of the plan sells the machine, by catalogues that list everything of these clouds."""
    places = [one.location for one in plan.machines.needs.alternatives] or list(plan.machines.locations)
    clouds = {place.cloud for place in places if place} if places and all(places) else set(prices.clouds())
    return all(prices.is_complete(cloud) for cloud in clouds - plan.machines.unfit_clouds)


def catalogue_hourly_usd(instance_type: str, *, location: Location, is_spot: bool, prices: Prices) -> float | None:
    """Return the price of a machine that runs; of a spot machine without a price of spot, the price on demand."""
    needs = ResourceRequest(instance_type=instance_type)
    for spot in (Spot.ALWAYS, Spot.NEVER) if is_spot else (Spot.NEVER,):
        if offers := prices.offers(needs, locations=[location], spot=spot):
            return min(offer.hourly_usd for offer in offers)
    return None


def alternatives_text(plan: RunPlan, prices: Prices) -> str:
    """Return which machines with these GPUs have a price.

    It lists other counts at the run's places, and the same count elsewhere.
    """
    clouds_of: dict[str, list[str]] = {}
    for name, needed_count in plan.machines.needs.accelerators.items():
        for count in _COUNTS:
            places: tuple[Location, ...] = () if count == needed_count else plan.machines.locations
            offers = prices.offers(ResourceRequest(accelerators={name: count}), locations=places, spot=Spot.NEVER)
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
    hourly = bounds.hourly_usd(plan, offer)
    raise BudgetError(
        f"max_cost {dollars(plan.limits.max_cost_usd)} buys {duration(minutes * 60)} of {machines(plan, offer)} at "
        f"{dollars(hourly)} an hour. That is too short to boot, run a command and release the machine.",
        next_step=f"Allow at least {dollars(round(hourly * least / 60 + 0.005, 2))}, "
        "or choose a smaller GPU, fewer nodes, or spot.",
    )


def machines(plan: RunPlan, offer: Offer) -> str:
    """Return the type of an offer, with the number of nodes."""
    return f"{plan.machines.num_nodes} × {offer.instance_type}" if plan.machines.num_nodes > 1 else offer.instance_type
