"""Apply the inputs to the alternatives of a task's `any_of` or `ordered`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cvl_ci.inputs import accelerators
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
    gpus = {name: count for one in alternatives for name, count in one.needs.accelerators.items()}
    return ResourceRequest(accelerators=gpus, disk_gb=disk_gb, in_order=in_order, alternatives=tuple(alternatives))


def places_of(alternatives: Sequence[Alternative]) -> tuple[Location, ...]:
    """Return all places, or none if one of the alternatives may run anywhere."""
    places = [one.place for one in alternatives if one.place]
    return tuple(dict.fromkeys(places)) if len(places) == len(alternatives) else ()


def spot_of(alternatives: Sequence[Alternative]) -> Spot:
    if not any(one.spot for one in alternatives):
        return Spot.NEVER
    return Spot.ALWAYS if all(one.spot for one in alternatives) else Spot.FALLBACK


def with_inputs(needs: ResourceRequest, inputs: Inputs, *, gpu: Mapping[str, float] | None) -> ResourceRequest:
    """Return the alternatives with the user's GPU, place, use of spot and sizes instead of their own."""
    gpus: Sequence[Mapping[str, float] | None] = [None]
    if gpu is not None:
        gpus = [{name: count} for name, count in gpu.items()] or [{}]
    clouds = inputs.location.cloud
    changed: list[Alternative] = []
    for spot in _TRIES[inputs.machine.spot]:
        for one in needs.alternatives:
            places: Sequence[Location | None] = [one.place] if clouds is None else clouds or [None]
            for place in places:
                for named in gpus:
                    machine = replace(
                        one,
                        needs=_sized(one.needs, inputs, gpu=named),
                        place=place,
                        spot=one.spot if spot is None else spot,
                    )
                    if machine not in changed:
                        changed.append(machine)
    in_order = [
        needs.in_order,
        inputs.machine.spot is Spot.FALLBACK,
        len(clouds or ()) > 1,
        isinstance(gpu, accelerators.Preferred),
    ]
    return combined(changed, in_order=any(in_order), disk_gb=inputs.machine.disk_size or needs.disk_gb)


def _sized(needs: ResourceRequest, inputs: Inputs, *, gpu: Mapping[str, float] | None) -> ResourceRequest:
    machine = inputs.machine
    sizes = {"cpus": machine.cpus, "memory_gib": machine.memory, "disk_gb": machine.disk_size}
    sizes_set = {name: size for name, size in sizes.items() if size}
    changed = replace(needs, **sizes_set, exact=needs.exact - sizes_set.keys())  # type: ignore[arg-type]
    if machine.memory:
        changed = replace(changed, memory_per_vcpu=None)
    return changed if gpu is None else replace(changed, accelerators=gpu, in_order=False, instance_type=None)
