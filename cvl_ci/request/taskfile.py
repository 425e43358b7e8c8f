"""A user's own SkyPilot task.yaml: what we must know of it, read; the rest passed on as it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cvl_ci.request import accelerators, document, places, values
from cvl_ci.request.compose import Work
from cvl_ci.request.inputs import Inputs
from cvl_ci.request.plan import Needs, Place, Secret, Spot
from cvl_ci.request.values import Wrong

_READ = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "setup", "run"}
_PASSED_ON = {"file_mounts", "config", "volumes", "event_callback", "inputs", "outputs", "managed_secrets"}
_RESOURCES = {"infra", "cloud", "region", "zone", "accelerators", "use_spot", "image_id", "cpus", "memory"}
_RESOURCES |= {"disk_size", "instance_type"}
# What we set ourselves, and what would be another run than this one.
_OURS = {"autostop": "it always ends by itself", "labels": "they mark whose machine it is"}
_REFUSED = {"service": "is a service: use deploy", "pool": "is a pool of workers, not a run"}


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """`wrong`: what cannot be understood, each with the input that would replace it, or None."""

    name: str | None
    workdir: str | None
    setup: str | None
    run: str | None
    env: Mapping[str, str]
    needs_value: tuple[str, ...]
    """Variables given as null: somebody must say them."""
    secrets: Mapping[str, Secret]
    num_nodes: int
    needs: Needs
    places: tuple[Place, ...]
    spot: Spot
    image: str | None
    extra: Mapping[str, object] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    def problems(self, inputs: Inputs) -> list[str]:
        given = {*inputs.env, *inputs.secrets}
        missing = [f"leaves {name} to be given: use env or secrets" for name in self.needs_value if name not in given]
        return [*self.wrong, *missing]

    def work(self, inputs: Inputs) -> Work:
        return Work(
            title=self.name or (inputs.task or "task").rpartition("/")[2],
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
        )


def read(content: bytes, *, known_gpus: Collection[str]) -> TaskFile:
    """Raises document.Unreadable when it is no single task at all."""
    documents = [one for one in document.load_all(content) if one is not None]
    if len(documents) != 1:
        raise document.Unreadable(f"has {len(documents)} YAML documents: one task is run at a time")
    said = documents[0]
    if not isinstance(said, dict):
        raise document.Unreadable("is no mapping of keys to values")
    for key, why in _REFUSED.items():
        if key in said:
            raise document.Unreadable(why)
    return _Reader(said, known_gpus=known_gpus).task()


def with_absolute_sources(
    extra: Mapping[str, object], *, locate: Callable[[str], str | None], root: str
) -> Mapping[str, object]:
    """File mounts from beside us, where SkyPilot would look beside itself."""
    mounts = extra.get("file_mounts")
    if not isinstance(mounts, Mapping):
        return extra

    def absolute(source: object) -> object:
        if isinstance(source, Mapping) and "source" in source:
            return {**source, "source": absolute(source["source"])}
        if not isinstance(source, str) or re.match(r"[a-z0-9]+://|/|~", source):
            return source
        found = locate(source)
        return source if found is None else f"{root}/{found}"

    return {**extra, "file_mounts": {target: absolute(source) for target, source in mounts.items()}}


class _Reader:
    """Reads one mapping, keeping what is wrong."""

    def __init__(self, said: Mapping[str, Any], *, known_gpus: Collection[str]) -> None:
        self._said = said
        self._known_gpus = known_gpus
        self._wrong: list[str] = []
        resources = said.get("resources") or {}
        if not isinstance(resources, Mapping):
            self._wrong.append("has resources that are no mapping")
            resources = {}
        self._resources: Mapping[str, Any] = resources

    def task(self) -> TaskFile:
        envs = self._mapping("envs")
        secrets = self._mapping("secrets")
        read = TaskFile(
            name=self._text("name"),
            workdir=self._workdir(),
            setup=self._text("setup"),
            run=self._text("run"),
            env=self._value(values.environment, {k: v for k, v in envs.items() if v is not None}, "envs") or {},
            needs_value=tuple(str(name) for name, value in (*envs.items(), *secrets.items()) if value is None),
            secrets={str(name): Secret(str(value)) for name, value in secrets.items() if value is not None},
            num_nodes=self._value(values.whole, self._said.get("num_nodes"), "num_nodes") or 1,
            needs=self._needs(),
            places=self._places(),
            spot=Spot.ALWAYS if self._resources.get("use_spot") is True else Spot.NEVER,
            image=self._image(),
            extra=self._extra(),
        )
        if not read.run:
            self._wrong.append("has no run")
        return TaskFile(**{**vars(read), "wrong": tuple(self._wrong)})

    def _needs(self) -> Needs:
        resources = self._resources
        gpus = self._value(self._gpus, resources.get("accelerators"), "accelerators") or {}
        return Needs(
            accelerators=gpus,
            cpus=self._value(values.amount, resources.get("cpus"), "cpus"),
            memory_gib=self._value(values.amount, resources.get("memory"), "memory"),
            disk_gb=self._value(values.gigabytes, resources.get("disk_size"), "disk_size") or Needs.disk_gb,
            instance_type=self._value(values.text, resources.get("instance_type"), "instance_type"),
        )

    def _gpus(self, said: object) -> dict[str, int]:
        return accelerators.canonical(accelerators.read(said), self._known_gpus)

    def _places(self) -> tuple[Place, ...]:
        resources = self._resources
        infra = resources.get("infra")
        if infra is None and resources.get("cloud"):
            parts = (resources.get("cloud"), resources.get("region"), resources.get("zone"))
            infra = "/".join(str(part) for part in parts if part)
        elif infra is None and (resources.get("region") or resources.get("zone")):
            self._wrong.append("gives a region without a cloud")
        return self._value(places.read, infra, "infra") or ()

    def _image(self) -> str | None:
        image = self._resources.get("image_id")
        if isinstance(image, str) and image.startswith("docker:"):
            read: str | None = self._value(values.image, image, "image_id")
            return read
        return None

    def _extra(self) -> dict[str, object]:
        """What is passed on untouched, resources that are none of ours to read among it."""
        extra: dict[str, object] = {key: value for key, value in self._said.items() if key in _PASSED_ON}
        for key in self._said.keys() - _READ - _PASSED_ON:
            self._wrong.append(f"has the key {key!r}, which no run can have")
        rest = {key: value for key, value in self._resources.items() if key not in _RESOURCES | _OURS.keys()}
        image = self._resources.get("image_id")
        if image is not None and self._image() is None:
            rest["image_id"] = image
        for key in ("any_of", "ordered"):
            if rest.pop(key, None) is not None:
                self._wrong.append(f"has resources.{key}: give the places with cloud and the GPUs with accelerators")
        return {**extra, "resources": rest} if rest else extra

    def _workdir(self) -> str | None:
        workdir = self._said.get("workdir")
        if isinstance(workdir, Mapping):
            self._wrong.append("takes its workdir from git: check it out and give the folder")
            return None
        return self._text("workdir")

    def _mapping(self, key: str) -> Mapping[str, Any]:
        said = self._said.get(key) or {}
        if isinstance(said, Mapping):
            return said
        self._wrong.append(f"has {key} that are no mapping")
        return {}

    def _text(self, key: str) -> str | None:
        said = self._said.get(key)
        if said is None or isinstance(said, str):
            return said or None
        self._wrong.append(f"has a {key} that is no text")
        return None

    def _value(self, read: Callable[[object], Any], said: object, key: str) -> Any:
        if said is None:
            return None
        try:
            return read(said)
        except Wrong as wrong:
            near = f" (did you mean {' or '.join(wrong.near)}?)" if wrong.near else ""
            self._wrong.append(f"has {key} {wrong.shown or str(said)!r}, which {wrong.problem}{near}")
            return None
