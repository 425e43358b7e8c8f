"""The clouds of a run that names none. Pure: which clouds have credentials is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.model.location import Location
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.alternatives import combined, places_of
from cvl_ci.ports import Prices


def name_clouds(plan: RunPlan, usable: Sequence[str], prices: Prices) -> RunPlan:
    """Name the clouds of a plan that names none: those with credentials, the cheapest first.

    So the quote, the launch and the proof are about the same clouds. SkyPilot alone would take any enabled cloud, even
    if cvl-ci cannot ask there whether a machine is gone. `usable`: clouds with complete credentials whose provider
    answers such questions. Without them the plan stays unchanged. Raise RequestError if none of them can run the work.
    Of the clouds that have a requested region, those with credentials stay.
    """
    plan = _of_regions(plan, usable) if plan.machines.has_region_alone else plan
    if plan.machines.locations or not usable:
        return plan
    fitting = [cloud for cloud in usable if cloud not in plan.machines.unfit_clouds]
    if not fitting:
        problem = f"leaves {', '.join(usable)}: there are credentials for them, and they cannot run this work"
        raise RequestError([InputProblem(field="cloud", value="any", problem=problem)])
    cheapest: dict[str, float] = {}
    for offer in prices.offers(plan.machines.needs, locations=(), spot=plan.machines.spot):
        cheapest[offer.cloud] = min(offer.hourly_usd, cheapest.get(offer.cloud, offer.hourly_usd))
    ordered = sorted(fitting, key=lambda cloud: (cheapest.get(cloud, float("inf")), fitting.index(cloud)))
    # Clouds that single alternatives of a task name count as named: a run needs credentials for them too.
    named = [one.location.cloud for one in plan.machines.needs.alternatives if one.location]
    return replace(
        plan,
        machines=replace(
            plan.machines, locations=tuple(Location(cloud=cloud) for cloud in dict.fromkeys([*ordered, *named]))
        ),
    )


def _of_regions(plan: RunPlan, usable: Sequence[str]) -> RunPlan:
    """Leave out the clouds without credentials that a region alone brought in. Without any other, all stay."""
    machines = plan.machines
    if not machines.needs.alternatives:
        locations = tuple(one for one in machines.locations if one.cloud in usable)
        return replace(plan, machines=replace(machines, locations=locations or machines.locations))
    alternatives = [
        one
        for one in machines.needs.alternatives
        if not one.has_region_alone or one.location is None or one.location.cloud in usable
    ]
    if not alternatives:
        return plan
    needs = combined(alternatives, in_order=machines.needs.in_order, disk_gb=machines.needs.disk_gb)
    return replace(plan, machines=replace(machines, needs=needs, locations=places_of(alternatives)))
