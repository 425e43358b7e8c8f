"""Read a user's own SkyPilot task.yaml by SkyPilot's own grammar: every key is read, passed on or refused. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cvl_ci.inputs import accelerators, parsers
from cvl_ci.inputs import locations as places
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.plan import Needs, Place, Secret, Spot
from cvl_ci.planning import safe_yaml, task_grammar
from cvl_ci.planning.build_plan import Work

# Every key of SkyPilot 0.14.1 stands in one of these tables (tests/engine/test_grammar.py). Read for plan and quote:
READ = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "setup", "run"}
PASSED_ON = {"file_mounts", "config", "volumes", "event_callback", "inputs", "outputs", "managed_secrets"}
PASSED_ON |= {"api_server_access"}
REFUSED = {
    "service": "is a service, which runs until a person ends it: a run ends by itself",
    "pool": "is a pool of workers, which runs until a person ends it: a run ends by itself",
}
INTERNAL = {"file_mounts_mapping", "volume_mounts", "_metadata"}
INTERNAL |= {"_no_missing_accel_warnings", "_docker_login_config", "_is_image_managed", "_requires_fuse"}
INTERNAL |= {"_cluster_config_overrides"}
"""Keys that SkyPilot writes for itself, and a person never does."""

RESOURCES_READ = {"infra", "cloud", "region", "zone", "accelerators", "use_spot", "image_id", "cpus", "memory"}
RESOURCES_READ |= {"disk_size", "instance_type"}
RESOURCES_PASSED_ON = {"labels", "ports", "accelerator_args", "max_hourly_cost", "priority", "priority_class"}
"""They do not change which machine is taken, and do not raise its cost."""

RESOURCES_UNPRICED = {
    "disk_tier": "the disk's tier",
    "network_tier": "the network's tier",
    "local_disk": "a machine with a local disk",
    "volumes": "volumes",
}
"""Passed on without a price in the catalogue. A warning therefore says that the quote does not include them."""

RESOURCES_OURS = {
    "autostop": "a run ends its machine by itself",
    "job_recovery": "only managed jobs use it",
}
RESOURCES_REFUSED = {
    "any_of": "give the places with cloud and the GPUs with accelerators",
    "ordered": "give the places with cloud and the GPUs with accelerators",
    "ephemeral_storage": "SkyPilot no longer reads it: give disk_size",
}


SKYPILOT_DISK_GB = 256
"""The default of a task without a disk size: sky/resources.py, DEFAULT_DISK_SIZE_GB."""


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """Content of a task. `wrong`: every mistake in it. `warnings`: differences from SkyPilot alone."""

    name: str | None
    workdir: str | None
    setup: str | None
    run: str | None
    env: Mapping[str, str]
    needs_value: tuple[str, ...]
    """Variables whose value is null: the user must set them."""
    secrets: Mapping[str, Secret]
    num_nodes: int
    needs: Needs
    places: tuple[Place, ...]
    spot: Spot
    image: str | None
    extra: Mapping[str, object] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def problems(self, inputs: Inputs) -> list[str]:
        set_names = {*inputs.variables.env, *inputs.variables.secrets}
        missing = [
            f"has no value for {name}: set it with env or secrets" for name in self.needs_value if name not in set_names
        ]
        return [*self.wrong, *missing]

    def work(self, inputs: Inputs) -> Work:
        return Work(
            title=self.name or (inputs.work.task or "task").rpartition("/")[2],
            setup=(self.setup,) if self.setup else (),
            run=(self.run,) if self.run else (),
            env=self.env,
            secrets=self.secrets,
            needs=self.needs,
            places=self.places,
            spot=self.spot,
            num_nodes=self.num_nodes,
            image=self.image,
            task_extra=self.extra,
            warnings=(*self.warnings, *self._size(inputs)),
        )

    def _size(self, inputs: Inputs) -> tuple[str, ...]:
        needs = self.needs
        if needs.accelerators or needs.cpus or needs.instance_type:
            return ()
        if inputs.machine.gpu or inputs.machine.cpus or inputs.machine.instance_type:
            return ()
        return ("The task gives no size: cvl-ci takes a machine with 2 vCPUs or more; SkyPilot alone takes 8.",)


def read(content: bytes, *, known_gpus: Collection[str]) -> TaskFile:
    """Read a task. Raises safe_yaml.Unreadable if it is not a single task at all."""
    task = _one_task([one for one in safe_yaml.load_all(content) if one is not None])
    for key, why in REFUSED.items():
        if task.get(key) is not None:
            raise safe_yaml.Unreadable(why)
    return _Reader(task, known_gpus=known_gpus).task()


def _one_task(documents: Sequence[object]) -> dict[str, Any]:
    """Return the one task. A document before it that only names it is SkyPilot's header of a pipeline."""
    if not documents:
        raise safe_yaml.Unreadable("has no task in it")
    first, *rest = documents
    header = isinstance(first, dict) and set(first) in ({"name"}, {"name", "execution"}) and bool(rest)
    if header and isinstance(first, dict) and first.get("execution") == "parallel":
        raise safe_yaml.Unreadable(f"is a group of {len(rest)} jobs side by side: a run is one task")
    tasks = rest if header else list(documents)
    if len(tasks) > 1:
        raise safe_yaml.Unreadable(f"is a pipeline of {len(tasks)} tasks, one after the other: a run is one task")
    if not isinstance(tasks[0], dict):
        raise safe_yaml.Unreadable("is not a mapping of keys to values")
    name = {"name": first["name"]} if header and isinstance(first, dict) else {}
    return {**name, **tasks[0]}


def _gpus(value: object, known_names: Collection[str]) -> dict[str, int]:
    """Read GPUs. Without known names, as on a cluster whose owner names them, every name is valid."""
    read = accelerators.read(value)
    return accelerators.canonical(read, known_names) if known_names else read


class _Reader:
    """Reader of one task: values out, and every mistake by its place in the file."""

    def __init__(self, task: Mapping[str, Any], *, known_gpus: Collection[str]) -> None:
        self._task = task
        self._known_gpus = known_gpus
        self._wrong: dict[str, str] = {}
        resources = task.get("resources")
        self._resources = task_grammar.with_own_names(resources) if isinstance(resources, Mapping) else {}

    def task(self) -> TaskFile:
        envs = self._mapping("envs")
        secrets = self._mapping("secrets")
        places_read = self._places()
        read = TaskFile(
            name=self._text("name"),
            workdir=self._workdir(),
            setup=self._text("setup"),
            run=self._text("run"),
            env=self._value("envs", parsers.environment, {k: v for k, v in envs.items() if v is not None}) or {},
            needs_value=tuple(str(name) for name, value in (*envs.items(), *secrets.items()) if value is None),
            secrets={str(name): Secret(str(value)) for name, value in secrets.items() if value is not None},
            num_nodes=self._value("num_nodes", parsers.whole_number, self._task.get("num_nodes")) or 1,
            needs=self._needs(places_read),
            places=places_read,
            spot=Spot.ALWAYS if self._resource("use_spot", parsers.flag) else Spot.NEVER,
            image=self._image(),
            extra=self._extra(),
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
        unpriced = [what for key, what in RESOURCES_UNPRICED.items() if self._resources.get(key) is not None]
        unused = [
            f"resources.{key} is not used: {why}." for key, why in RESOURCES_OURS.items() if key in self._resources
        ]
        price_text = (
            f"The price does not include {' and '.join(unpriced)}, which the task requests." if unpriced else ""
        )
        return (*unused, *([price_text] if price_text else []))

    def _needs(self, places_read: tuple[Place, ...]) -> Needs:
        named = self._known_gpus
        if places_read and all(place.cloud in places.OWN_CLUSTERS for place in places_read):
            named = ()
        exact = {
            field
            for key, field in (("cpus", "cpus"), ("memory", "memory_gib"))
            if self._resources.get(key) is not None and not str(self._resources[key]).strip().endswith("+")
        }
        gpus = self._resource("accelerators", lambda value: _gpus(value, named)) or {}
        return Needs(
            accelerators=gpus,
            in_order=isinstance(gpus, accelerators.Preferred),
            cpus=self._resource("cpus", parsers.amount),
            memory_gib=self._resource("memory", parsers.gibibytes),
            disk_gb=self._resource("disk_size", parsers.gigabytes) or SKYPILOT_DISK_GB,
            instance_type=self._resource("instance_type", parsers.text),
            exact=frozenset(exact),
        )

    def _places(self) -> tuple[Place, ...]:
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
        if separate_keys:
            self._wrong["resources.region"] = "gives a region without a cloud"
        return self._resource("infra", places.read) or ()

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
        for key in INTERNAL & self._task.keys():
            self._wrong[key] = f"has the key {key!r}, which SkyPilot writes for itself"
        for key in INTERNAL & self._resources.keys():
            self._wrong[f"resources.{key}"] = f"has the key 'resources.{key}', which SkyPilot writes for itself"
        for key in RESOURCES_REFUSED.keys() & self._resources.keys():
            self._wrong[f"resources.{key}"] = f"has resources.{key}: {RESOURCES_REFUSED[key]}"
        extra: dict[str, object] = {key: value for key, value in self._task.items() if key in PASSED_ON}
        passed_on = RESOURCES_PASSED_ON | RESOURCES_UNPRICED.keys()
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
        return value or None if isinstance(value, str) else None

    def _resource(self, key: str, read: Callable[[object], Any]) -> Any:
        return self._value(f"resources.{key}", read, self._resources.get(key))

    def _value(self, path: str, read: Callable[[object], Any], value: object) -> Any:
        if value is None:
            return None
        try:
            return read(value)
        except Wrong as wrong:
            near = f" (did you mean {' or '.join(wrong.near)}?)" if wrong.near else ""
            self._wrong[path] = f"has {path} {wrong.display or str(value)!r}, which {wrong.problem}{near}"
            return None
