"""Roll out a service under a lease of its own. Then end the older services of its environment, with proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.commands.deploy import environment
from cvl_ci.commands.deploy.environment import Decision
from cvl_ci.commands.reap import down as taking_down
from cvl_ci.commands.reap.down import DownPorts
from cvl_ci.errors import CvlError, EngineError, NotProvedGone, explain_while_running
from cvl_ci.model.lease_name import pull_request_of
from cvl_ci.model.location import Location
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.release import Release
from cvl_ci.ports.pull_requests import PullRequests, PullRequestState

DRAIN_SECONDS = 30.0
"""A default of `drain` for clients that read the address before each request, and for slow answers under way."""


@dataclass(frozen=True, kw_only=True)
class RolloutPorts:
    """Ports of a rollout. `run`: starts the service under the owner's lease. `pulls` None: GitHub is not asked.

    `keeps`: called when the new service answers, with the leases that end now, before any of them ends, and whether no
    service of the environment stays.
    """

    down: DownPorts
    pulls: PullRequests | None
    run: Callable[[Owner], Outcome]
    keeps: Callable[[Sequence[str], bool], None]
    announce: Callable[[Outcome, Sequence[str]], None] = lambda *_: None
    """Tell clients the new address, before the older services end. It gets their leases too."""
    drain_seconds: float = DRAIN_SECONDS
    """The time between the two: a client that hears it and switches has no failed request."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Result. `outcome`: of the new service. `skipped`: the reason why there is none.

    `is_closed`: the pull request closed during the rollout, so that no service of it stays. `unproved`: leases that
    should have ended, and are not proved gone.
    """

    outcome: Outcome | None = None
    skipped: str = ""
    is_closed: bool = False
    unproved: tuple[str, ...] = ()


def roll_out(owner: Owner, *, commit: str, locations: Sequence[Location], ports: RolloutPorts) -> Rollout:
    """Start a service of the owner's environment, and end the older ones. Raise CvlError before it is started.

    An older service that answers stays until the new one answers, so that a failure leaves it as it was. Of two that
    answer at the same time, that of the later run stays. `commit`: of this rollout. A preview is not rolled out if its
    pull request is closed, or has a newer commit.
    """
    state = _state(owner, ports)
    if state is not None and state.closed_at is not None:
        return Rollout(skipped=f"The pull request of {owner.environment} is closed.")
    if state is not None and commit and state.head_sha != commit:
        return Rollout(skipped=f"The pull request of {owner.environment} has a newer commit: {state.head_sha[:12]}.")
    occupants = environment.find(owner, locations=locations, clouds=ports.down.clouds)
    if occupants.out_of_reach:
        raise EngineError(
            _out_of_reach(occupants.out_of_reach, owner),
            money="Nothing was started. That service stays as it is, and is billed.",
            next_step=_END_BY_SERVER,
        )
    decision = environment.decide(occupants.leases, owner)
    if decision.newer is not None:
        return Rollout(skipped=f"A later run has {owner.environment} already: its lease is {decision.newer.lease}.")
    unproved = _unproved(end(decision.end_first, owner, locations=locations, ports=ports.down))
    if unproved:
        raise NotProvedGone(
            f"These leases of {owner.environment} did not end: {', '.join(unproved)}.",
            money="Their machines may still run, and are billed. No new service was started.",
            next_step=f"End them with proof: cvl-ci down {' '.join(unproved)}",
        )
    outcome = ports.run(owner)
    if outcome.release is None or outcome.release.kept is None:
        return Rollout(outcome=outcome)
    decision = _settled(decision, owner, locations=locations, ports=ports.down)
    state = _state(owner, ports)
    is_closed = state is not None and state.closed_at is not None
    names = tuple(dict.fromkeys((owner.name, *decision.end_after))) if is_closed else decision.end_after
    ports.keeps(names, is_closed)
    if names and not is_closed and decision.newer is None:
        ports.announce(outcome, names)
        ports.down.clock.sleep(ports.drain_seconds)
    unproved = _end_replaced(names, owner, locations=locations, ports=ports.down)
    if is_closed:
        reason = f"The pull request of {owner.environment} was closed meanwhile, so its service was taken down."
        return Rollout(skipped=reason, is_closed=True, unproved=unproved)
    if decision.newer is not None:
        reason = f"The lease {decision.newer.lease} has {owner.environment} meanwhile, so this service was taken down."
        return Rollout(skipped=reason, unproved=unproved)
    return Rollout(outcome=outcome, unproved=unproved)


def _settled(first: Decision, owner: Owner, *, locations: Sequence[Location], ports: DownPorts) -> Decision:
    """Decide again: without a concurrency group, another run may have started a service at the same time."""
    try:
        occupants = environment.find(owner, locations=locations, clouds=ports.clouds)
    except CvlError as error:
        ports.reporter.warning(
            f"{error.what}\nThe new service stays. If another run started one at the same time, both are billed.\n"
            "See them with `cvl-ci status`, and end one with `cvl-ci down NAME`."
        )
        return first
    return environment.settle(occupants.leases, owner)


def _state(owner: Owner, ports: RolloutPorts) -> PullRequestState | None:
    """Return the state of the pull request of a preview. None: it is not a preview, or GitHub does not answer."""
    number = pull_request_of(owner.environment)
    return ports.pulls.state(number) if number is not None and ports.pulls is not None else None


def _end_replaced(
    names: Sequence[str], owner: Owner, *, locations: Sequence[Location], ports: DownPorts
) -> tuple[str, ...]:
    """End the older services, and return those without proof. An error is a missing proof: the new service stays."""
    try:
        return _unproved(end(names, owner, locations=locations, ports=ports))
    except CvlError as error:
        ports.reporter.warning(explain_while_running(error))
        return tuple(names)


def end(
    names: Sequence[str], owner: Owner, *, locations: Sequence[Location], ports: DownPorts
) -> Mapping[str, Release]:
    """End leases of the owner's repository, and return lease → proof."""
    if not names:
        return {}
    return taking_down.down(names, everything=False, locations=locations, user_id=owner.user_id, ports=ports).releases


def take_down(
    owner: Owner, *, locations: Sequence[Location], ports: DownPorts, note: Callable[[Sequence[str]], None]
) -> Release:
    """End all services of the owner's environment, and return one proof. No service is a success too.

    `note`: called with their leases before any of them ends. Raise EngineError unless each provider answers, and
    NotProvedGone, after the end of the others, for a service of a server that was not asked.
    """
    occupants = environment.find(owner, locations=locations, clouds=ports.clouds)
    note(occupants.names)
    by_lease = end(occupants.names, owner, locations=locations, ports=ports)
    releases = list(by_lease.values())
    if occupants.out_of_reach:
        unproved = _unproved(by_lease)
        also = f" Nor are these proved gone: {', '.join(unproved)}." if unproved else ""
        raise NotProvedGone(
            _out_of_reach(occupants.out_of_reach, owner) + also,
            money="Its machines still run, and are billed.",
            next_step=_END_BY_SERVER,
        )
    return Release(
        gone=all(release.gone for release in releases),
        at=ports.clock.now(),
        asked=tuple(check for release in releases for check in release.asked) or occupants.checks,
        unproved=tuple(dict.fromkeys(text for release in releases for text in release.unproved)),
    )


_END_BY_SERVER = (
    "End it through its server: run `verb: deploy` with the same `environment`, `down: true`, "
    "`skypilot_api_server_endpoint` and `skypilot_service_account_token`."
)


def _out_of_reach(names: Sequence[str], owner: Owner) -> str:
    return (
        f"{owner.environment} has a service with several replicas: {', '.join(names)}. The controller of a SkyPilot "
        "API server replaces each of its machines that ends. This step has no address of that server."
    )


def _unproved(releases: Mapping[str, Release]) -> tuple[str, ...]:
    return tuple(name for name, release in releases.items() if not release.gone)
