"""Hold a requested machine type to the catalogue: a type that no cloud sells, or one without the requested GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.reader import Inputs
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.ports import Prices


def mistakes(inputs: Inputs, plan: RunPlan, prices: Prices) -> list[InputProblem]:
    """Return what the catalogue shows to be impossible. A catalogue that lists a few types proves only what it has."""
    wrong: list[InputProblem] = []
    for needs, places in _named(plan):
        name, clouds = needs.instance_type or "", _clouds(places, prices)
        problem, near = _problem(needs, places, clouds, prices)
        if not problem or not (all(map(prices.is_complete, clouds)) or _offers(needs, places, clouds, prices)):
            continue
        if inputs.machine.instance_type:
            wrong.append(inputs.mistake("instance_type", name, problem, near=near))
        else:
            wrong.append(inputs.mistake("task", name, f"is a machine type that {problem}", near=near))
    return wrong


def doubts(plan: RunPlan, prices: Prices) -> list[str]:
    """Return a sentence for each type that the prices do not list, with similar names."""
    texts = []
    for needs, places in _named(plan):
        clouds = _clouds(places, prices)
        problem, near = _problem(needs, places, clouds, prices)
        if problem:
            question = f" Did you mean {' or '.join(near)}?" if near else ""
            texts.append(f"By the prices here, {needs.instance_type!r} {problem}.{question}")
    return texts


def without_gpu(plan: RunPlan, spelled: Callable[[str], str]) -> list[str]:
    """Return a warning where the sandbox stands for a machine with GPUs: its containers see none."""
    if not plan.machines.is_on_sandbox or not plan.machines.needs.accelerators:
        return []
    text = "The sandbox has no GPU. Its machine has the type and the price of one with GPUs, but a job finds none."
    return [f"{text} To try the run itself, ask for no GPU: {spelled('gpu')} none."]


def _named(plan: RunPlan) -> Iterator[tuple[ResourceRequest, Sequence[Location]]]:
    """Yield each request for a machine type, with its places."""
    needs = plan.machines.needs
    for one in needs.alternatives:
        if one.needs.instance_type:
            yield one.needs, [one.location] if one.location else plan.machines.locations
    if needs.instance_type and not needs.alternatives:
        yield needs, plan.machines.locations


def _clouds(places: Sequence[Location], prices: Prices) -> Sequence[str]:
    return list(dict.fromkeys(place.cloud for place in places)) or list(prices.clouds())


def _problem(
    needs: ResourceRequest, places: Sequence[Location], clouds: Sequence[str], prices: Prices
) -> tuple[str, tuple[str, ...]]:
    """Return the problem of a type, with similar names; an empty text for none, and for a cloud without a catalogue."""
    name = needs.instance_type or ""
    if not all(cloud in (*prices.clouds(), SANDBOX) for cloud in clouds):
        return "", ()
    names = [one for cloud in clouds for one in prices.machine_types(cloud)]
    if name not in names:
        return f"is not a machine type of {', '.join(clouds)}", similar(name, names)
    sold = _offers(needs, places, clouds, prices)
    if not sold:
        regions = sorted({offer.region for offer in _offers(needs, (), clouds, prices)})
        places_text = ", ".join(map(str, places))
        return (f"is not sold in {places_text}, but in {', '.join(regions)}" if regions and places else ""), ()
    return next((problem for offer in sold if (problem := _contradiction(needs, offer, prices))), ""), ()


def _contradiction(needs: ResourceRequest, offer: Offer, prices: Prices) -> str:
    place = [Location(cloud=offer.cloud, region=offer.region)]
    # Google Cloud adds GPUs to a type without any, and a short table does not list each pair.
    is_certain = offer.cloud != "gcp" or prices.is_complete("gcp")
    if needs.accelerators and is_certain and not prices.offers(needs, locations=place, spot=Spot.NEVER):
        has = ", ".join(f"{name}:{count:g}" for name, count in offer.accelerators.items()) or "no GPU"
        request = " or ".join(f"{name}:{count:g}" for name, count in needs.accelerators.items())
        return f"has {has}, and the request is for {request}"
    if needs.cpus and offer.vcpus < needs.cpus:
        return f"has {offer.vcpus:g} vCPUs, and the request is for {needs.cpus:g}"
    if needs.memory_gib and offer.memory_gib < needs.memory_gib:
        return f"has {offer.memory_gib:g} GiB, and the request is for {needs.memory_gib:g} GiB"
    return ""


def _offers(
    needs: ResourceRequest, places: Sequence[Location], clouds: Sequence[str], prices: Prices
) -> Sequence[Offer]:
    """Return the offers of the type alone, without the other requirements."""
    alone = ResourceRequest(instance_type=needs.instance_type)
    return prices.offers(alone, locations=places or [Location(cloud=cloud) for cloud in clouds], spot=Spot.NEVER)
