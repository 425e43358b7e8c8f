"""Price a service with several replicas. An API server of a team starts it; without one, cvl-ci refuses to.

The reasons are facts of SkyPilot 0.14.1, by its source:

- The controller of `sky serve` launches the replicas (sky/serve/replica_managers.py, `launch_cluster`). The timer that
  ends a machine from its boot is in the requests that cvl-ci's own process sends, so a replica would have none.
- A controller replaces each replica that ends (`_handle_preemption`), and has no end of its own. Its autostop stops it
  after an idle time, and does not end it (sky/serve/constants.py, `CONTROLLER_AUTOSTOP`).
- Once a version has answered, failures of further replicas do not stop the controller
  (sky/serve/autoscalers.py, `generate_scaling_decisions`).
- The controller needs credentials that launch machines. The role of cvl-ci's machines may only end them.

So through an API server too, a replica that fails after the end of the service is replaced again and again, until the
service is taken down. Only a failure before the first answer of a version stops the controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.commands.plan import bounds
from cvl_ci.errors import InputProblem
from cvl_ci.inputs.deploy_inputs import DeployInputs
from cvl_ci.inputs.reader import Spelling
from cvl_ci.model.budget import Fleet
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.offer import Offer, Quote
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.replicas import CONTROLLER_CPUS, CONTROLLER_DISK_GB, CONTROLLER_MEMORY_GIB, ReplicaPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import ServicePlan
from cvl_ci.ports import Prices
from cvl_ci.result.units import dollars, duration

REASON = (
    "needs the controller of `sky serve`, which launches the replicas and replaces them. Without a SkyPilot API server "
    "their end has no guarantee, so cvl-ci starts none of them"
)
WITH_SERVER = "With an API server it starts: set {} and {} of your team"
SERVER_INPUTS = ("skypilot_api_server_endpoint", "skypilot_service_account_token")
NO_PROMISE = (
    "SkyPilot's controller, and not cvl-ci, launches and ends the replicas. It belongs to the API server, and no "
    "figure here includes its cost. After the end of the service each replica ends within minutes. But the controller "
    "launches others, each for some minutes, until `cvl-ci deploy --down NAME` or `cvl-ci reap` ends the service. "
    "So let `reap` run on a schedule, with the server's address."
)


def refusals(replicas: ReplicaPlan | None, spelling: Spelling) -> list[InputProblem]:
    """Return the mistake of a request that would start several replicas."""
    if replicas is None:
        return []
    remedy = f"give {spelling.of('replicas')} 1 for one machine"
    task = ", or --dry-run for its price and --yaml for the task of `sky serve`" if spelling is Spelling.FLAG else ""
    with_server = WITH_SERVER.format(*(_server_input(name, spelling) for name in SERVER_INPUTS))
    problem = f"{REASON}. {with_server}. Else {remedy}{task}"
    return [InputProblem(field=spelling.of("replicas"), value=str(replicas), problem=problem)]


def mistakes(
    plan: RunPlan, inputs: DeployInputs, service: ServicePlan, *, spelling: Spelling, starts: bool, through_server: bool
) -> list[InputProblem]:
    """Return the mistakes of a request for several replicas. `starts`: the plan will be carried out."""
    if through_server:
        wrong = mistakes_through_server(plan, inputs, service, spelling)
    else:
        wrong = refusals(service.replicas, spelling) if starts else []
    return wrong + (mixed(plan, spelling) if service.replicas else [])


def mistakes_through_server(
    plan: RunPlan, inputs: DeployInputs, service: ServicePlan, spelling: Spelling
) -> list[InputProblem]:
    """Return the inputs that do not work with an API server."""
    if service.replicas is None:
        problem = (
            "is set: deploy opens a port by itself, which an API server does not offer. Unset it for one machine, or "
            f"give {spelling.of('replicas')} 2 or more, which the server's controller starts"
        )
        if spelling is Spelling.INPUT:
            problem += ". An older service with several replicas needs it for its end: run `down: true` with it first"
        return [InputProblem(field=_server_input(SERVER_INPUTS[0], spelling), value="***", problem=problem)]
    wrong = {
        "tls_cert": (bool(inputs.tls_cert), "the load balancer of `sky serve` takes plain HTTP from cvl-ci"),
        "allow": (inputs.allow is not None, "the callers reach the load balancer, which belongs to the server"),
        "ssh_public_key": (plan.machines.public_key is not None, "no person uses the machines of a controller"),
        "cloud": (plan.machines.is_on_sandbox, "no API server knows the sandbox: name aws"),
    }
    return [
        InputProblem(field=spelling.of(name), value="", problem=f"cannot be combined with several replicas: {why}")
        for name, (is_given, why) in wrong.items()
        if is_given
    ]


def _server_input(name: str, spelling: Spelling) -> str:
    """Return how a person names the server here. Outside the action, its address and token are variables alone."""
    return name if spelling is Spelling.INPUT else name.upper()


def started(plan: RunPlan, service: ServicePlan, *, probe_token: Secret) -> tuple[RunPlan, ServicePlan]:
    """Return plan and service of replicas that start: all machines count, and the plan's warnings tell the limits."""
    count = service.replicas
    if count is None:
        return plan, service
    machines = replace(plan.machines, num_nodes=count.most)
    plan = replace(plan, machines=machines, warnings=(*plan.warnings, NO_PROMISE))
    return plan, replace(service, replicas=replace(count, probe_token=probe_token))


def mixed(plan: RunPlan, spelling: Spelling) -> list[InputProblem]:
    """Return the mistake of a plan that takes spot or on-demand machines (serve_utils.py, validate_service_task)."""
    if plan.machines.spot is not Spot.FALLBACK:
        return []
    problem = "is refused by `sky serve`, whose replicas are all spot or all on-demand: give true or false"
    return [InputProblem(field=spelling.of("spot"), value=Spot.FALLBACK.value, problem=problem)]


def facts(service: ServicePlan, *, longest_minutes: float) -> list[str]:
    """Return the facts of a service that `sky serve` starts, or would start, as its task has them.

    `longest_minutes`: from its launch to its end.
    """
    is_started = service.replicas is not None and service.replicas.is_started
    port = service.public_port if is_started else service.port
    return [
        f"{service.kind.value} on port {service.port}, {service.replicas} replicas",
        f"port {port} of each replica is open for any address, {'with the' if is_started else 'without a'} token",
        *(["the certificate is not used"] if service.tls else []),
        *service.sources,
        f"ready within {duration(service.probe.initial_delay_seconds)}",
        *([f"its end is fixed at its launch: {duration(longest_minutes * 60)} later at most"] if is_started else []),
    ]


def lines(plan: RunPlan, quote: Quote, prices: Prices) -> list[str]:
    """Return the price of the replicas and of the controller, and the reason why cvl-ci starts none."""
    count = plan.service.replicas if plan.service else None
    if count is None:
        return []
    if count.is_started:
        return [
            f"  The figures are of {count.most} replicas. During an update there are up to {count.most_in_update}.",
            "  The controller belongs to the API server: its cost is in no figure.",
        ]
    return [
        f"  The figures above are of one replica. Here are {count}, up to {count.most_in_update} during an update.",
        *_price(plan, count, quote.offers, prices),
        f"  Several replicas: this {REASON}.",
    ]


def _price(plan: RunPlan, count: ReplicaPlan, offers: Sequence[Offer], prices: Prices) -> list[str]:
    if not offers:
        return ["  No price is known for the replicas, so neither is one for the service."]
    first, dearest = offers[0], bounds.most_expensive(plan, offers)
    controller = _controller(plan, prices)
    if controller is None:
        return ["  No price is known for a controller, so neither is one for the service."]
    from_usd = bounds.hourly_usd(plan, first) * count.least + _hourly_usd(controller[0], controller[0].hourly_usd)
    dearest_controller = max(_hourly_usd(one, max(one.hourly_usd, one.most_usd)) for one in controller)
    replica_usd = bounds.most_hourly_usd(plan, dearest)
    most_usd, update_usd = (replica_usd * number + dearest_controller for number in (count.most, count.most_in_update))
    billed = "; the sandbox bills nothing" if first.cloud == SANDBOX else ""
    hours = plan.limits.longest_minutes / 60
    machines = f"{count.least} × {first.instance_type} and a controller ({controller[0].instance_type})"
    most_text = f"with all replicas {dollars(most_usd)}, during an update {dollars(update_usd)}{billed}"
    return [
        f"  {machines}: {dollars(from_usd)} an hour; {most_text}.",
        f"  {hours:.3g} h of it cost up to {dollars(update_usd * hours)}. cvl-ci does not end it, nor limit its cost.",
    ]


def _controller(plan: RunPlan, prices: Prices) -> Sequence[Offer] | None:
    """Return the offers for SkyPilot's own controller, the cheapest first. None: no price is known."""
    needs = ResourceRequest(cpus=CONTROLLER_CPUS, memory_gib=CONTROLLER_MEMORY_GIB, disk_gb=CONTROLLER_DISK_GB)
    return prices.offers(needs, locations=plan.machines.locations, spot=Spot.NEVER) or None


def _hourly_usd(offer: Offer, machine_usd: float) -> float:
    fleet = Fleet(cloud=offer.cloud, hourly_usd=machine_usd, disk_gb=CONTROLLER_DISK_GB)
    return fleet.total_hourly_usd(at=bounds.IN_THE_SHORTEST_MONTH)
