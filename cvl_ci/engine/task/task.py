"""Render a plan as a SkyPilot task: plain mappings and text, without SkyPilot, and valid by its schema."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence

import yaml

from cvl_ci.clouds.catalogue import names
from cvl_ci.clouds.catalogue.prices import LEAST_CPUS
from cvl_ci.engine.task import mounts, script
from cvl_ci.model.launch import Attempt
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot
from cvl_ci.planning import replicas, volume_rules

_VALID_NAME = re.compile(r"[a-zA-Z](?:[-_.a-zA-Z0-9]*[a-zA-Z0-9])?")
"""sky/skylet/constants.py, CLUSTER_NAME_VALID_REGEX."""
_OWN_KEYS = ("resources", "file_mounts", "volumes")
SANDBOX_DRIVEN_AS = "aws"
_SIMPLE = re.compile(r"(?!cd |export |set |exit )[\w./-][\w ./:@%+,=\"'{}-]*")
"""One program with its words: `set -e` and a shell of its own do not change its effect."""


def task_config(
    plan: RunPlan,
    *,
    name: str,
    workdir: str | None,
    labels: Mapping[str, str],
    autodown_minutes: int | None,
    env: Mapping[str, str],
    setup: str | None,
    run: str,
    lease: str | None = None,
    offers: Sequence[Offer] = (),
    own_files: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return the task.

    `autodown_minutes`: the machine then ends itself, even if a program still runs on it. `offers`: those of the quote,
    whose prices order GPUs without an order of their own. `own_files`: folders of cvl-ci itself, by their place on the
    machine.
    """
    user_mounts = mounts.rendered(plan) if lease is None else mounts.entries(plan, lease=lease, staged=workdir or "")
    config: dict[str, object] = {
        **{key: value for key, value in plan.work.task_extra.items() if key not in _OWN_KEYS},
        "volumes": volume_rules.volumes(plan),
        "file_mounts": {**user_mounts, **(own_files or {})},
        "name": name,
        "workdir": workdir,
        "num_nodes": plan.machines.num_nodes,
        "resources": _resources(plan, labels=labels, autodown_minutes=autodown_minutes, offers=offers),
        "envs": dict(env),
        "secrets": {name: secret.reveal() for name, secret in plan.variables.secrets.items()}
        | (script.secrets_of_service(plan.service) if lease is not None else {}),
        "setup": setup,
        "run": run,
    }
    return {key: value for key, value in config.items() if value not in (None, {})}


def render(plan: RunPlan, *, offers: Sequence[Offer] = ()) -> str:
    """Return the task YAML for a person and for `sky launch`.

    It holds plain commands and no value of a secret. Its paths start at the repository's root. A service's task is
    for `sky serve up`.
    """
    plan = replicas.of_one_replica(plan)
    config = task_config(
        plan,
        name=_name(plan.title),
        workdir=_workdir(plan),
        labels={},
        autodown_minutes=None,
        env=plan.variables.env,
        setup=_script(plan.work.directory, plan.work.setup_commands),
        run=_script(plan.work.directory, plan.work.run_commands, fail_fast=plan.work.fail_fast) or "",
        offers=offers,
    )
    if plan.variables.secrets:
        config["secrets"] = dict.fromkeys(plan.variables.secrets)
    if plan.service is not None:
        config["service"] = replicas.section_of(plan.service)
        config["resources"] = {**_mapping(config["resources"]), "ports": plan.service.port}
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


def _name(title: str) -> str:
    if _VALID_NAME.fullmatch(title):
        return title
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "task"


def _workdir(plan: RunPlan) -> str | None:
    """Return the folder whose files are sent: the root, or the workdir of a command or a task."""
    folder = next((copy.folder for copy in plan.files.commits if copy.path == "."), ".")
    return folder if plan.files.staged else None


def _resources(
    plan: RunPlan, *, labels: Mapping[str, str], autodown_minutes: int | None, offers: Sequence[Offer]
) -> dict[str, object]:
    needs = plan.machines.needs
    extra = plan.work.task_extra.get("resources")
    resources: dict[str, object] = dict(extra) if isinstance(extra, Mapping) else {}
    if not needs.alternatives:
        resources |= {**_machine(needs), "disk_size": needs.disk_gb}
    if plan.work.image:
        resources["image_id"] = f"docker:{plan.work.image}"
    user_labels = resources.get("labels")
    if merged := {**(user_labels if isinstance(user_labels, Mapping) else {}), **labels}:
        resources["labels"] = merged
    if autodown_minutes is not None:
        # wait_for none: the timer also runs when a job hangs. Every other setting waits for the job.
        resources["autostop"] = {"idle_minutes": autodown_minutes, "down": True, "wait_for": "none"}
    return {**resources, **(_alternatives(plan, labels) if needs.alternatives else _candidates(plan, offers))}


def _machine(needs: ResourceRequest) -> dict[str, object]:
    """Return the requirements for the machine. SkyPilot checks that an instance type satisfies the others."""
    has: dict[str, object] = {"instance_type": needs.instance_type} if needs.instance_type else {}
    least = needs.cpus if needs.cpus or needs.accelerators or needs.instance_type else LEAST_CPUS
    if least:
        has["cpus"] = f"{least:.12g}{'' if 'cpus' in needs.exact else '+'}"
    if needs.memory_gib:
        has["memory"] = f"{needs.memory_gib:.12g}{'' if 'memory_gib' in needs.exact else '+'}"
    if needs.memory_per_vcpu:
        has["memory"] = f"{needs.memory_per_vcpu:.12g}x"
    return has


def _alternatives(plan: RunPlan, labels: Mapping[str, str]) -> dict[str, object]:
    """Return the machines of a task's `any_of` or `ordered`. One without a place may run in each of the plan's.

    `labels`: the lease's, which those of an alternative would replace: sky/resources.py, _override_resources.
    """
    machines: list[dict[str, object]] = [
        {
            **one.extra,
            **_own_labels(one, labels),
            **_machine(one.needs),
            "disk_size": one.needs.disk_gb,
            **({"accelerators": dict(one.needs.accelerators)} if one.needs.accelerators else {}),
            **_infra(place),
            **({"use_spot": True} if one.spot else {}),
        }
        for one in plan.machines.needs.alternatives
        for place in _places([one.location] if one.location else plan.machines.locations)
    ]
    return {"ordered" if plan.machines.needs.in_order else "any_of": machines}


def _own_labels(one: Alternative, labels: Mapping[str, str]) -> dict[str, object]:
    own = one.extra.get("labels")
    return {"labels": {**own, **labels}} if isinstance(own, Mapping) else {}


def _candidates(plan: RunPlan, offers: Sequence[Offer]) -> dict[str, object]:
    """Return the alternatives: place, spot or not, and GPU.

    SkyPilot takes the cheapest of a set, and tries a list in its order. So GPUs without an order stand in the order of
    their price at each place, as the quote has them.
    """
    tries = {Spot.NEVER: [False], Spot.ALWAYS: [True], Spot.FALLBACK: [True, False]}[plan.machines.spot]
    settings = [(place, spot) for spot in tries for place in _places(plan.machines.locations)]
    alternatives_of_place = [{**_infra(place), **({"use_spot": True} if spot else {})} for place, spot in settings]
    needs = plan.machines.needs
    # An instance type has its GPUs. On Google Cloud an N1 has them only if the request names them.
    unnamed = needs.unnamed if needs.instance_type else frozenset()
    gpus = {name: count for name, count in needs.accelerators.items() if name not in unnamed}
    if len(alternatives_of_place) == 1 and not (plan.machines.needs.in_order and len(gpus) > 1):
        return {**({"accelerators": dict(gpus)} if gpus else {}), **alternatives_of_place[0]}
    ordered: list[dict[str, object]] = []
    for entry, (place, spot) in zip(alternatives_of_place, settings, strict=True):
        names_in_order = (
            list(gpus) if plan.machines.needs.in_order else _by_price(gpus, place, spot=spot, offers=offers)
        )
        ordered += [{**entry, "accelerators": {name: gpus[name]}} for name in names_in_order if name in gpus] or [entry]
    return {"ordered": ordered}


def _by_price(gpus: Mapping[str, float], place: Location | None, *, spot: bool, offers: Sequence[Offer]) -> list[str]:
    """Return the GPUs by the lowest price that the quote has at a place. Those without a price come last, in order."""
    cheapest = {
        name: min(
            (
                offer.hourly_usd
                for offer in offers
                if offer.spot is spot and name in offer.accelerators and _is_at(offer, place)
            ),
            default=math.inf,
        )
        for name in gpus
    }
    return sorted(cheapest, key=lambda name: cheapest[name])


def refused_request(attempt: Attempt, *, sandbox: str | None) -> dict[str, str | bool | None]:
    """Return a refused request in SkyPilot's words. `sandbox`: the cloud's name, if it is the sandbox."""
    return {
        "cloud": SANDBOX_DRIVEN_AS if attempt.cloud == sandbox else attempt.cloud,
        "region": attempt.region or None,
        "zone": attempt.zone if attempt.zone and "," not in attempt.zone else None,
        "instance_type": attempt.instance_type or None,
        "spot": attempt.spot,
    }


def _is_at(offer: Offer, place: Location | None) -> bool:
    """Return whether an offer is of this place. The quote does not tell zones apart."""
    if place is None:
        return True
    cloud = SANDBOX_DRIVEN_AS if offer.cloud == SANDBOX else offer.cloud
    return cloud == place.cloud and place.region in (None, offer.region)


def _places(tries: Sequence[Location]) -> list[Location | None]:
    """Return the places as SkyPilot knows them: the sandbox is AWS in the regions it emulates."""
    places: list[Location | None] = []
    for place in tries:
        if place.cloud != SANDBOX:
            places.append(place)
            continue
        regions = [place.region] if place.region else names.REGIONS[SANDBOX]
        places += [Location(cloud=SANDBOX_DRIVEN_AS, region=region, zone=place.zone) for region in regions]
    return places or [None]


def _infra(place: Location | None) -> dict[str, object]:
    return {} if place is None else {"infra": str(place)}


def _script(directory: str, commands: tuple[str, ...], *, fail_fast: bool = False) -> str | None:
    """Return one text that does the same as the machine: each command by itself, until the first one fails."""
    if not commands:
        return None
    change_folder = f"cd {shlex.quote(directory)}" if directory != "." else ""
    if len(commands) == 1 and not change_folder and not fail_fast:
        return commands[0]
    if len(commands) == 1 and (fail_fast or not _SIMPLE.fullmatch(commands[0]) or not change_folder):
        lines = [
            f"{change_folder} || exit 127" if change_folder else "",
            (script.FAIL_FAST if fail_fast else "") + commands[0],
        ]
    elif all(_SIMPLE.fullmatch(command) for command in commands):
        lines = ["set -e", change_folder, *commands]
    else:
        lines = [
            f"{change_folder} || exit 127" if change_folder else "",
            *(f"bash -c {shlex.quote(c)} || exit $?" for c in commands),
        ]
    return "\n".join(line for line in lines if line).rstrip("\n") + "\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)
