"""Read a user's own SkyPilot task.yaml by SkyPilot's own grammar: every key is read, passed on or refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cvl_ci.inputs import accelerators, machine_sizes, parsers, sendable_text, variables
from cvl_ci.inputs import locations as places
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.plan import MachinePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot
from cvl_ci.planning import alternatives, idle_rules, recovery_rules, safe_yaml, task_documents, task_grammar, task_keys


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """Content of a task. `wrong`: every mistake in it. `warnings`: differences from SkyPilot alone."""

    name: str | None
    workdir: str | None
    work: WorkPlan
    variables: VariablePlan
    machines: MachinePlan
    idle: IdlePolicy | None = None
    needs_value: tuple[str, ...] = ()
    """Variables whose value is null: the user must set them."""
    wrong: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def problems(self, inputs: Inputs) -> list[str]:
        set_names = {*inputs.variables.env, *inputs.variables.secrets}
        missing = [
            f"has no value for {name}: set it with env or secrets" for name in self.needs_value if name not in set_names
        ]
        return [*self.wrong, *missing]

    def draft(self, inputs: Inputs) -> RunPlan:
        """Return the plan without the inputs' own values."""
        return RunPlan(
            title=self.name or (inputs.work.task or "task").rpartition("/")[2],
            work=self.work,
            variables=self.variables,
            machines=self.machines,
            limits=Limits(idle=self.idle),
            warnings=(*self.warnings, *self._size(inputs)),
        )

    def _size(self, inputs: Inputs) -> tuple[str, ...]:
        if self.machines.needs.has_size:
            return ()
        if inputs.machine.gpu or inputs.machine.cpus or inputs.machine.instance_type:
            return ()
        return ("The task gives no size: cvl-ci takes a machine with 2 vCPUs or more; SkyPilot alone takes 8.",)


CloudsWith = Callable[[str, ResourceRequest], Sequence[str]]


def _no_clouds(_region: str, _needs: ResourceRequest) -> Sequence[str]:
    return ()


def read(content: bytes, *, known_gpus: Collection[str], clouds_with: CloudsWith = _no_clouds) -> TaskFile:
    """Read a task. Raises safe_yaml.Unreadable if it is not a single task at all.

    `clouds_with`: the clouds that have a region, for a task that names a region of any cloud.
    """
    task = task_documents.one_task(content)
    for key, why in task_keys.REFUSED.items():
        if task.get(key) is not None:
            raise safe_yaml.Unreadable(why)
    return _Reader(task, known_gpus=known_gpus, clouds_with=clouds_with).task()


def _gpus(value: object, known_names: Collection[str], *, places_read: tuple[Location, ...]) -> accelerators.Gpus:
    """Read GPUs. On a cluster whose owner names them, every name is valid."""
    allows_own = bool(places_read) and places.are_own_clusters(places_read)
    try:
        return accelerators.canonical(accelerators.read(value), known_names, allows_own=allows_own)
    except Wrong as wrong:
        own = f" ({accelerators.OWN_NAME} with infra)"
        raise Wrong(f"{wrong.problem}{own}", near=wrong.near, display=wrong.display) from None


def _has_region_alone(resources: Mapping[str, Any]) -> bool:
    """Return whether the task names a region of any cloud: `infra: '*/us-east-1'`, or `region` without `cloud`."""
    if resources.get("cloud"):
        return False
    return bool(resources.get("region") or resources.get("zone")) or str(resources.get("infra")).startswith("*/")


def _with_value(variables: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in variables.items() if value is not None}


class _Reader:
    """Reader of one task: values out, and every mistake by its place in the file."""

    def __init__(self, task: Mapping[str, Any], *, known_gpus: Collection[str], clouds_with: CloudsWith) -> None:
        self._retry, self._idle = task.get("retry"), task.get(idle_rules.KEY)
        self._task = {key: value for key, value in task.items() if key not in {"retry", idle_rules.KEY}}
        self._known_gpus = known_gpus
        self._clouds_with = clouds_with
        self._wrong: dict[str, str] = {}
        resources = task.get("resources")
        self._resources = task_grammar.with_own_names(resources) if isinstance(resources, Mapping) else {}

    def task(self) -> TaskFile:
        envs = self._mapping("envs")
        secrets = self._mapping("secrets")
        machines = self._alternatives()
        locations = alternatives.places_of(machines) if machines else self._places()
        spot = Spot.ALWAYS if self._resource("use_spot", parsers.flag) else Spot.NEVER
        setup, run = self._text("setup"), self._text("run")
        read = TaskFile(
            name=self._text("name"),
            workdir=self._workdir(),
            work=WorkPlan(
                setup_commands=(setup,) if setup else (),
                run_commands=(run,) if run else (),
                image=self._image(),
                task_extra=self._extra(),
            ),
            variables=VariablePlan(
                env=self._value("envs", variables.environment, _with_value(envs)) or {},
                secrets=self._value("secrets", variables.secrets({}), _with_value(secrets)) or {},
            ),
            machines=MachinePlan(
                needs=self._one_of(machines) if machines else self._resource_request(locations),
                num_nodes=self._value("num_nodes", machine_sizes.nodes, self._task.get("num_nodes")) or 1,
                locations=locations,
                has_region_alone=any(one.has_region_alone for one in machines)
                or (bool(locations) and not machines and _has_region_alone(self._resources)),
                spot=alternatives.spot_of(machines) if machines else spot,
                recoveries=self._value("retry", recovery_rules.recoveries, self._recovery_request()) or 0,
            ),
            idle=self._value(idle_rules.KEY, idle_rules.of_task, self._idle),
            needs_value=tuple(str(name) for name, value in (*envs.items(), *secrets.items()) if value is None),
        )
        if not self._task.get("run"):
            self._wrong["run"] = "has no run"
        return replace(read, wrong=self._mistakes(), warnings=self._warnings())

    def _mistakes(self) -> tuple[str, ...]:
        """Return SkyPilot's mistakes and our own. For one place our own count, which know more."""
        of_grammar = {
            path: problem
            for path, problem in task_grammar.mistakes(self._task).items()
            if not any(path == own or path.startswith((f"{own}.", f"{own}[")) for own in self._wrong)
        }
        return (*self._wrong.values(), *of_grammar.values())

    def _warnings(self) -> tuple[str, ...]:
        parts = {"resources": self._resources, **self._entries()}
        unpriced = [
            what
            for key, what in task_keys.RESOURCES_UNPRICED.items()
            if any(part.get(key) is not None for part in parts.values())
        ]
        unused = [
            f"{path}.{key} is not used: {why}."
            for path, part in parts.items()
            for key, why in task_keys.RESOURCES_OURS.items()
            if key in part
        ]
        price_text = (
            f"The price does not include {' and '.join(unpriced)}, which the task requests." if unpriced else ""
        )
        without_effect = recovery_rules.warnings(self._recovery_request())
        return (*unused, *without_effect, *([price_text] if price_text else []))

    def _recovery_request(self) -> recovery_rules.RecoveryRequest:
        parts = (self._resources, *self._entries().values())
        named = [part[recovery_rules.KEY] for part in parts if part.get(recovery_rules.KEY) is not None]
        return recovery_rules.RecoveryRequest(retry=self._retry, job_recovery=named[0] if named else None)

    def _entries(self) -> dict[str, Mapping[str, Any]]:
        """Return the entries of any_of and ordered by their place in the file."""
        return {
            f"resources.{key}[{number}]": entry
            for key in task_keys.ALTERNATIVES
            for number, entry in enumerate(self._resources[key] if isinstance(self._resources.get(key), list) else ())
            if isinstance(entry, Mapping)
        }

    def _alternatives(self) -> list[Alternative]:
        entries = self._entries()
        if not entries and self._gpus(self._places()).has_several_counts:
            return self._alternative("resources", {})
        machines = [machine for path, entry in entries.items() for machine in self._alternative(path, entry)]
        shared = (self._resource("accelerators", accelerators.read) if machines else None) or accelerators.Gpus(())
        if len(shared.pairs) > 1 and ("ordered" in self._resources or shared.in_order):
            problem = (
                "has several resources.accelerators next to alternatives in order: name the GPU of each in its entry"
            )
            self._wrong["resources.accelerators"] = problem
        if len({bool(machine.location and machine.location.cloud == SANDBOX) for machine in machines}) > 1:
            self._wrong["resources.any_of"] = "mixes the sandbox with a cloud that bills: give one or the other"
        return machines

    def _alternative(self, path: str, entry: Mapping[str, Any]) -> list[Alternative]:
        """Read one entry, whose keys replace those of the task as in SkyPilot: sky/resources.py, from_yaml_config."""
        shared = {key: value for key, value in self._resources.items() if key not in task_keys.ALTERNATIVES}
        reader = _Reader({"resources": {**shared, **entry}}, known_gpus=self._known_gpus, clouds_with=self._clouds_with)
        places_read = reader._places()
        needs = reader._resource_request(places_read)
        spot = bool(reader._resource("use_spot", parsers.flag))
        for key in (task_keys.INTERNAL | task_keys.RESOURCES_REFUSED.keys()) & entry.keys():
            self._wrong[f"{path}.{key}"] = f"has {path}.{key}, which a run does not take"
        if str(entry.get("image_id")).startswith("docker:"):
            self._wrong[f"{path}.image_id"] = f"has {path}.image_id: give one image for all with resources.image_id"
        for place, problem in reader._wrong.items():
            key = place.removeprefix("resources.")
            entry_path = f"{path}.{key}" if key in entry else place
            self._wrong[entry_path] = problem.replace(place, entry_path)
        gpus = reader._gpus(places_read)
        return [
            Alternative(
                needs=alternatives.with_gpus(replace(needs, alternatives=()), gpu),
                location=at,
                has_region_alone=_has_region_alone(reader._resources),
                spot=spot,
                extra={key: value for key, value in entry.items() if key in task_keys.ALTERNATIVES_PASSED_ON},
            )
            for at in places_read or (None,)
            for gpu in [accelerators.Gpus([pair], by_memory=gpus.by_memory) for pair in gpus.pairs]
            or [accelerators.Gpus(())]
        ]

    def _one_of(self, machines: Sequence[Alternative]) -> ResourceRequest:
        disk_gb = self._resource("disk_size", machine_sizes.disk) or task_keys.SKYPILOT_DISK_GB
        in_order = "ordered" in self._resources or (not self._entries() and self._gpus(self._places()).in_order)
        return alternatives.combined(machines, in_order=in_order, disk_gb=disk_gb)

    def _resource_request(self, places_read: tuple[Location, ...]) -> ResourceRequest:
        exact = {
            field
            for key, field in (("cpus", "cpus"), ("memory", "memory_gib"))
            if self._resources.get(key) is not None and not str(self._resources[key]).strip().endswith(("+", "x"))
        }
        per_vcpu = re.fullmatch(r"\s*(\d+(?:\.\d+)?)x\s*", str(self._resources.get("memory")))
        needs = ResourceRequest(
            cpus=self._resource("cpus", machine_sizes.vcpus),
            memory_gib=None if per_vcpu else self._resource("memory", machine_sizes.memory),
            memory_per_vcpu=float(per_vcpu[1]) if per_vcpu else None,
            disk_gb=self._resource("disk_size", machine_sizes.disk) or task_keys.SKYPILOT_DISK_GB,
            instance_type=self._resource("instance_type", parsers.text),
            exact=frozenset(exact),
        )
        return alternatives.with_gpus(needs, self._gpus(places_read))

    def _gpus(self, places_read: tuple[Location, ...]) -> accelerators.Gpus:
        read = partial(_gpus, known_names=self._known_gpus, places_read=places_read)
        return self._resource("accelerators", read) or accelerators.Gpus(())

    def _places(self) -> tuple[Location, ...]:
        resources = self._resources
        separate_keys = [key for key in ("cloud", "region", "zone") if resources.get(key)]
        if resources.get("infra") and separate_keys:
            self._wrong["resources.infra"] = (
                f"has resources.infra next to {' and '.join(separate_keys)}: give infra alone"
            )
            return ()
        if resources.get("cloud"):
            parts = (resources.get("cloud"), resources.get("region"), resources.get("zone"))
            return self._value("resources.cloud", places.read, "/".join(str(part) for part in parts if part)) or ()
        infra = str(resources.get("infra") or "")
        if _has_region_alone(resources):
            words = infra.removeprefix("*/").partition("/")
            region = str(resources.get("region") or "") if separate_keys else words[0]
            return self._in_region(region, resources.get("zone") if separate_keys else words[2])
        return self._resource("infra", places.read) or ()

    def _in_region(self, region: str, zone: object) -> tuple[Location, ...]:
        """Return the place in each cloud that has this region. SkyPilot looks for it in the enabled clouds."""
        clouds = self._clouds_with(region, self._resource_request(())) if region else ()
        if not clouds:
            key = "infra" if self._resources.get("infra") else "region"
            self._wrong[f"resources.{key}"] = (
                f"gives the region {region!r} without a cloud: name the cloud too, as in `aws/us-east-1`"
            )
        return tuple(Location(cloud=cloud, region=region, zone=str(zone) if zone else None) for cloud in clouds)

    def _image(self) -> str | None:
        image = self._resources.get("image_id")
        if isinstance(image, str) and image.startswith("docker:"):
            read: str | None = self._resource("image_id", parsers.image)
            return read
        return None

    def _extra(self) -> dict[str, object]:
        """Return the keys that SkyPilot reads unchanged.

        A key that no table names is refused: its price is not known.
        """
        for key in task_keys.INTERNAL & self._task.keys():
            self._wrong[key] = f"has the key {key!r}, which SkyPilot writes for itself"
        for key in task_keys.INTERNAL & self._resources.keys():
            self._wrong[f"resources.{key}"] = f"has the key 'resources.{key}', which SkyPilot writes for itself"
        for key in task_keys.RESOURCES_REFUSED.keys() & self._resources.keys():
            self._wrong[f"resources.{key}"] = f"has resources.{key}: {task_keys.RESOURCES_REFUSED[key]}"
        extra: dict[str, object] = {key: value for key, value in self._task.items() if key in task_keys.PASSED_ON}
        passed_on = task_keys.RESOURCES_PASSED_ON | task_keys.RESOURCES_UNPRICED.keys()
        rest = {key: value for key, value in self._resources.items() if key in passed_on and value is not None}
        image = self._resources.get("image_id")
        if image is not None and self._image() is None:
            rest["image_id"] = image
        return {**extra, "resources": rest} if rest else extra

    def _workdir(self) -> str | None:
        workdir = self._task.get("workdir")
        if isinstance(workdir, Mapping):
            self._wrong["workdir"] = "takes its workdir from git: check it out and give the folder"
            return None
        return self._text("workdir")

    def _mapping(self, key: str) -> Mapping[str, Any]:
        value = self._task.get(key)
        if key == "secrets" and isinstance(value, list):
            self._wrong[key] = "names secrets that an API server keeps: give them with secrets"
        return value if isinstance(value, Mapping) else {}

    def _text(self, key: str) -> str | None:
        value = self._task.get(key)
        if isinstance(value, str) and (problem := sendable_text.problem_of(value)):
            self._wrong[key] = f"has a {key} that {problem}"
        return value or None if isinstance(value, str) else None

    def _resource(self, key: str, read: Callable[[object], Any]) -> Any:
        return self._value(f"resources.{key}", read, self._resources.get(key))

    def _value(self, path: str, read: Callable[[object], Any], value: object) -> Any:
        if value is None:
            return None
        try:
            return read(value)
        except Wrong as wrong:
            for one in (wrong, *wrong.further):
                near = f" (did you mean {' or '.join(one.near)}?)" if one.near else ""
                place = path if one is wrong else f"{path}.{one.display}"
                self._wrong[place] = f"has {path} {one.display or str(value)!r}, which {one.problem}{near}"
            return None
