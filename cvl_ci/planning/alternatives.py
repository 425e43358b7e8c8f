"""Apply the inputs to the alternatives of a task's `any_of` or `ordered`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cvl_ci.inputs import accelerators
from cvl_ci.inputs.accelerators import Gpus
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.location import Location
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot

_TRIES: Mapping[Spot | None, Sequence[bool | None]] = {
    None: [None],
    Spot.NEVER: [False],
    Spot.ALWAYS: [True],
    Spot.FALLBACK: [True, False],
}


def combined(alternatives: Sequence[Alternative], *, in_order: bool, disk_gb: int) -> ResourceRequest:
    """Return the requirements whose machine is one of these."""
    return ResourceRequest(
        accelerators=_gpus_of(alternatives), disk_gb=disk_gb, in_order=in_order, alternatives=tuple(alternatives)
    )


def with_gpus(needs: ResourceRequest, gpus: Mapping[str, float]) -> ResourceRequest:
    """Return the requirements with these GPUs, as alternatives where a name has several counts (`A100:4, A100:8`)."""
    read = accelerators.of(gpus)
    if not read.has_several_counts:
        return replace(needs, accelerators=dict(read), in_order=read.in_order, unnamed=read.by_memory)
    one = replace(needs, in_order=False, unnamed=read.by_memory)
    machines = [Alternative(needs=replace(one, accelerators={name: count})) for name, count in read.pairs]
    return combined(machines, in_order=read.in_order, disk_gb=needs.disk_gb)


def alone(needs: ResourceRequest, *, is_spot: bool) -> ResourceRequest:
    """Return requirements of which this is the only alternative."""
    machine = Alternative(needs=replace(needs, in_order=False), spot=is_spot)
    return combined([machine], in_order=False, disk_gb=needs.disk_gb)


def only_offered(needs: ResourceRequest, is_offered: Callable[[ResourceRequest], bool]) -> ResourceRequest:
    """Return the requirements without the GPUs of a requested memory that no place offers.

    They stay unchanged where no place offers any of them, and so does each GPU that a person named.
    """
    if needs.alternatives:
        machines = [one for one in needs.alternatives if not one.needs.unnamed or is_offered(_only(one, needs))]
        return combined(machines or needs.alternatives, in_order=needs.in_order, disk_gb=needs.disk_gb)
    offered = {
        name: count
        for name, count in needs.accelerators.items()
        if name not in needs.unnamed or is_offered(replace(needs, accelerators={name: count}))
    }
    return replace(needs, accelerators=offered or needs.accelerators)


def _only(one: Alternative, needs: ResourceRequest) -> ResourceRequest:
    return replace(needs, alternatives=(one,), accelerators=one.needs.accelerators)


def _gpus_of(alternatives: Sequence[Alternative]) -> Mapping[str, float]:
    return {name: count for one in alternatives for name, count in one.needs.accelerators.items()}


def places_of(alternatives: Sequence[Alternative]) -> tuple[Location, ...]:
    """Return all places, or none if one of the alternatives may run anywhere."""
    places = [one.location for one in alternatives if one.location]
    return tuple(dict.fromkeys(places)) if len(places) == len(alternatives) else ()


def spot_of(alternatives: Sequence[Alternative]) -> Spot:
    if not any(one.spot for one in alternatives):
        return Spot.NEVER
    return Spot.ALWAYS if all(one.spot for one in alternatives) else Spot.FALLBACK


def with_inputs(needs: ResourceRequest, inputs: Inputs, *, gpu: Mapping[str, float] | None) -> ResourceRequest:
    """Return the alternatives with the user's GPU, place, use of spot and sizes instead of their own."""
    gpus: Sequence[Mapping[str, float] | None] = [None]
    if gpu is not None:
        by_memory = accelerators.of(gpu).by_memory
        gpus = [Gpus([pair], by_memory=by_memory) for pair in accelerators.of(gpu).pairs] or [{}]
    clouds = inputs.location.cloud
    changed: list[Alternative] = []
    for spot in _TRIES[inputs.machine.spot]:
        for one in needs.alternatives:
            places: Sequence[Location | None] = [one.location] if clouds is None else clouds or [None]
            for place in places:
                for named in gpus:
                    machine = replace(
                        one,
                        needs=_sized(one.needs, inputs, gpu=named),
                        location=place,
                        has_region_alone=one.has_region_alone and clouds is None,
                        spot=one.spot if spot is None else spot,
                    )
                    if machine not in changed:
                        changed.append(machine)
    in_order = [
        needs.in_order,
        inputs.machine.spot is Spot.FALLBACK,
        len(clouds or ()) > 1,
        gpu is not None and accelerators.of(gpu).in_order,
    ]
    return combined(changed, in_order=any(in_order), disk_gb=inputs.machine.disk_size or needs.disk_gb)


def _sized(needs: ResourceRequest, inputs: Inputs, *, gpu: Mapping[str, float] | None) -> ResourceRequest:
    machine = inputs.machine
    sizes = {"cpus": machine.cpus, "memory_gib": machine.memory, "disk_gb": machine.disk_size}
    sizes_set = {name: size for name, size in sizes.items() if size}
    changed = replace(needs, **sizes_set, exact=needs.exact - sizes_set.keys())  # type: ignore[arg-type]
    if machine.memory:
        changed = replace(changed, memory_per_vcpu=None)
    return changed if gpu is None else with_gpus(replace(changed, instance_type=None), gpu)
