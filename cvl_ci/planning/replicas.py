"""Read how many replicas a service has, from `service:` or an input, and write its section for `sky serve`. Pure.

The rules are SkyPilot 0.14.1's own (sky/utils/schemas.py, get_service_schema; sky/serve/service_spec.py). A key with
which the number of machines has no known limit is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cvl_ci.inputs.deploy_inputs import MOST_REPLICAS
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.replicas import ReplicaPlan
from cvl_ci.model.service import ServicePlan

BALANCING = ("least_load", "round_robin")
_KEYS = ("load_balancing_policy", "port", "ports", "readiness_probe", "replica_policy", "replicas")
_COUNTS = ("min_replicas", "max_replicas", "num_overprovision")
_DELAYS = ("upscale_delay_seconds", "downscale_delay_seconds")
_POLICY_KEYS = (*_COUNTS, "target_qps_per_replica", *_DELAYS)
_LONGEST_DELAY = 24 * 3600


def read(section: object, *, requested: int | None = None) -> ReplicaPlan | None:
    """Return the replicas. None: one machine without `sky serve`. Raise Wrong for a section that SkyPilot refuses.

    `requested`: the input `replicas`, which comes before the section's own number.
    """
    if isinstance(section, Mapping):
        balancing(section)
    if requested is not None:
        return _fixed(requested, section if isinstance(section, Mapping) else {})
    if not isinstance(section, Mapping):
        return None
    count, policy = section.get("replicas"), section.get("replica_policy")
    if count is not None and policy is not None:
        raise Wrong("has both replicas and replica_policy in its `service:`; SkyPilot takes one of them")
    if policy is None:
        return None if count is None else _fixed(_integer("replicas", count, least=1), section)
    return _scaled(policy, section)


def section_of(service: ServicePlan) -> dict[str, object]:
    """Return the `service:` section for `sky serve up`."""
    probe = service.probe
    return {
        "readiness_probe": {
            "path": probe.path,
            "initial_delay_seconds": _plain(probe.initial_delay_seconds),
            "timeout_seconds": _plain(probe.timeout_seconds),
        },
        **(service.replicas.policy if service.replicas else {"replicas": 1, **service.balancing}),
        "ports": service.port,
    }


def started_section(service: ServicePlan) -> dict[str, object]:
    """Return the section for replicas with the proxy of cvl-ci: its port, and the token of the probe alone."""
    section = section_of(service)
    token = service.replicas.probe_token if service.replicas else None
    if token is None:
        raise ValueError("these replicas have no token for their probe")
    probe = {**_mapping(section["readiness_probe"]), "headers": {"Authorization": f"Bearer {token.reveal()}"}}
    return {**section, "readiness_probe": probe, "ports": service.public_port}


def of_one_replica(plan: RunPlan) -> RunPlan:
    """Return the plan of one replica, which is one machine. The nodes of a plan with replicas are all of them."""
    return replace(plan, machines=replace(plan.machines, num_nodes=1)) if plan.has_replicas else plan


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


def _plain(seconds: float) -> float:
    return int(seconds) if seconds == int(seconds) else seconds


def _fixed(count: int, section: Mapping[str, Any]) -> ReplicaPlan | None:
    if count == 1:
        return None
    return ReplicaPlan(least=count, most=count, policy={"replicas": count, **balancing(section)})


def _scaled(policy: object, section: Mapping[str, Any]) -> ReplicaPlan | None:
    if not isinstance(policy, Mapping):
        raise Wrong("has a replica_policy that is not a mapping")
    _refuse_unknown(policy, _POLICY_KEYS, "replica_policy")
    if "min_replicas" not in policy:
        raise Wrong("has a replica_policy without min_replicas")
    counts = {key: _integer(key, policy[key], least=0) for key in _COUNTS if policy.get(key) is not None}
    least = counts["min_replicas"]
    most = counts.get("max_replicas", least)
    target = policy.get("target_qps_per_replica")
    if most < least:
        raise Wrong(f"has max_replicas {most}, which is less than min_replicas {least}")
    if target is None and most != least:
        raise Wrong("has a max_replicas above min_replicas without target_qps_per_replica; SkyPilot needs both")
    if target is not None and "max_replicas" not in counts:
        raise Wrong("has target_qps_per_replica without max_replicas, so its number of machines has no limit")
    read_policy: dict[str, object] = dict(counts)
    if target is not None:
        read_policy["target_qps_per_replica"] = _number("target_qps_per_replica", target, most=1e6)
    read_policy |= {key: _delay(key, policy[key]) for key in _DELAYS if policy.get(key) is not None}
    spare = counts.get("num_overprovision", 0)
    if not most + spare:
        raise Wrong("has a replica_policy with no replica at all")
    if (least, most, spare) == (1, 1, 0):
        return None
    return ReplicaPlan(
        least=least + spare, most=most + spare, policy={"replica_policy": read_policy, **balancing(section)}
    )


def balancing(section: Mapping[str, Any]) -> dict[str, object]:
    """Return the key about requests to several replicas. Raise Wrong for a key that would be lost."""
    _refuse_unknown(section, _KEYS, "`service:`")
    name = section.get("load_balancing_policy")
    if name is None:
        return {}
    if name not in BALANCING:
        raise Wrong(f"has the load_balancing_policy {str(name)[:40]!r}; give {' or '.join(BALANCING)}")
    return {"load_balancing_policy": name}


def _refuse_unknown(mapping: Mapping[Any, Any], allowed: tuple[str, ...], place: str) -> None:
    unknown = sorted(str(key) for key in mapping if key not in allowed)
    if unknown:
        problem = f"has {unknown[0][:60]!r} in its {place}, which deploy does not read"
        raise Wrong(problem, near=similar(unknown[0], allowed))


def _integer(key: str, value: object, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_REPLICAS:
        raise Wrong(f"has {str(value)[:40]!r} as {key}, and not a whole number from {least} to {MOST_REPLICAS}")
    return value


def _number(key: str, value: object, *, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise Wrong(f"has {str(value)[:40]!r} as {key}, and not a number above 0, at most {most:g}")
    return value


def _delay(key: str, value: object) -> float:
    """Return a delay in seconds; 0 is one too."""
    return 0 if value == 0 and not isinstance(value, bool) else _number(key, value, most=_LONGEST_DELAY)
