"""Wait until a service answers, send it smoke requests, judge it, and keep its machine under its lease."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from cvl_ci.commands.run import keep_alive, spending
from cvl_ci.commands.run.state import RunState
from cvl_ci.errors import EngineError, explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.lease_name import service_labels, service_url
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.outcome import EXIT_CODES, EXIT_NOT_PROVED_GONE, Ending
from cvl_ci.model.release import Release
from cvl_ci.model.service import ServicePlan, ServiceResult, SmokeResult, percentile
from cvl_ci.ports import Clock, Cloud, ServiceAnswer, ServiceRequest, Services
from cvl_ci.ports.services import LARGEST_ANSWER
from cvl_ci.result.conclusion import Conclusion
from cvl_ci.result.sanitize import plain
from cvl_ci.result.service_text import smoke_line
from cvl_ci.result.units import duration

PAUSE_SECONDS = 2.0
SHORT_SECONDS = 3.0
"""A probe that waits delays the server's lines, so it waits this long at most while the server starts."""
SMOKE_REQUESTS = 20
SMOKE_SECONDS = 60.0
"""The longest time for all smoke requests together: the machine is billed meanwhile."""
SHOWN_LINES = 15
EXIT_ENDED = 1
"""The exit code of a server that ended with 0 before it answered."""
PROMPT = {"prompt": "Say hello.", "max_tokens": 32}
_COMPLETIONS = "/v1/completions"


class Readiness:
    """The probe of one service, as a question that the stream of its log asks."""

    def __init__(self, service: ServicePlan, *, to: ServiceRequest, services: Services, clock: Clock) -> None:
        self._service, self._services, self._clock = service, services, clock
        self._to = to
        self._next_at = clock.monotonic()
        self.last = ServiceAnswer(problem="it was not asked yet")

    def __call__(self) -> bool:
        """Ask at most once in PAUSE_SECONDS. Return whether the server has answered, or no client will trust it."""
        if self._clock.monotonic() < self._next_at:
            return False
        self.last = self._services.ask(
            replace(
                self._to,
                path=self._service.probe.path,
                timeout_seconds=min(SHORT_SECONDS, self._service.probe.timeout_seconds),
            )
        )
        self._next_at = self._clock.monotonic() + PAUSE_SECONDS
        return is_ready(self.last) or self.last.is_distrusted

    @property
    def why_not(self) -> str:
        """Return the last answer in words."""
        answer = self.last
        if answer.is_from_proxy:
            return f"the server accepted no connection (its proxy answered {answer.status})"
        return f"it answered {answer.status}" if answer.status else answer.problem


def is_ready(answer: ServiceAnswer) -> bool:
    """Return whether the server itself answered with success. A redirect to a page of its own counts too."""
    return not answer.is_from_proxy and 200 <= answer.status < 400


def wait_and_smoke(state: RunState, cloud: Cloud, *, deadline: float) -> None:
    """Stream the server's lines until it answers or ends; then send the smoke requests. Raise EngineError."""
    service, services, launch = state.plan.service, state.ports.services, state.launches.current
    if service is None or services is None or launch is None:
        raise EngineError("There is no service to wait for.")
    clock, probe = state.ports.clock, service.probe
    address = cloud.machines.address()
    to = _request(address, service, token=state.ports.token)
    waits = f"waiting until {to.url}{probe.path} answers, for {duration(probe.initial_delay_seconds)}"
    state.ports.reporter.show(f"{waits} (at {address})" if service.domain else waits)
    ready = Readiness(service, to=to, services=services, clock=clock)
    end = min(clock.now() + probe.initial_delay_seconds, spending.end_of_money(state, launch, deadline))
    until = min(end, deadline - RELEASE_MINUTES * 60)
    state.facts.job = cloud.jobs.follow_until(watch=state.watch, until=until, enough=ready)
    if state.facts.job is not None:
        if state.facts.lost is not None:
            state.facts.lost_at = clock.now()
        state.facts.warnings.append(f"The last probe of {probe.path}: {ready.why_not}.")
        return
    if ready.last.is_distrusted:
        raise EngineError(
            f"The certificate of the service is refused: {ready.last.problem}.",
            money="cvl-ci takes its machine down.",
            next_step="Give the certificate and the key of this name, and compare the clocks of both computers.",
        )
    _refuse_open_door(services, replace(to, path=probe.path, token=""))
    seconds = max(0.0, clock.now() - launch.created_at)
    state.service = ServiceResult(url=to.url, ready_seconds=seconds, address=to.address)
    if service.smokes:
        smoke = smoke_requests(service, to=to, services=services, clock=clock)
        state.service = replace(state.service, smoke=smoke)
        state.ports.reporter.show(smoke_line(smoke))


def _request(address: str, service: ServicePlan, *, token: str) -> ServiceRequest:
    """Return a request to the service at this address. It asks no DNS, and trusts the given certificate alone.

    Raise EngineError for an address that no label can hold, while the machine can still end.
    """
    try:
        url = service_url(_labels(address, service))
    except ValueError as error:
        raise EngineError(f"The machine has no address for a service: {error}.") from error
    chain = service.tls.chain if service.tls is not None else ""
    return ServiceRequest(url=url, token=token, address=address.partition(":")[0], chain=chain)


def _labels(address: str, service: ServicePlan) -> dict[str, str]:
    """Return the labels. `address`: of the machine, or host and port of a load balancer before several replicas."""
    is_encrypted = service.tls is not None
    host, _, port = address.partition(":")
    return service_labels(host, int(port or service.public_port), is_encrypted=is_encrypted, domain=service.domain)


def _refuse_open_door(services: Services, request: ServiceRequest) -> None:
    """Raise EngineError unless a request without the token is refused. No service is handed over that is open."""
    answer = services.ask(request)
    if answer.status == 401 and answer.is_from_proxy:
        return
    raise EngineError(
        f"A request without the token was not refused ({answer.status or answer.problem}), so the service is not safe.",
        money="cvl-ci takes its machine down.",
        next_step="Run it again. Report it when it happens twice.",
    )


def smoke_requests(service: ServicePlan, *, to: ServiceRequest, services: Services, clock: Clock) -> SmokeResult:
    """Send up to SMOKE_REQUESTS requests, within SMOKE_SECONDS, and return their figures. A slow server gets one."""
    path, body = service.probe.path, b""
    if service.kind.is_openai_compatible and (model := _model(services, to)):
        path, body = _COMPLETIONS, json.dumps({**PROMPT, "model": model}).encode()
    end = clock.monotonic() + SMOKE_SECONDS
    answers: list[ServiceAnswer] = []
    while len(answers) < SMOKE_REQUESTS and (not answers or clock.monotonic() < end):
        seconds_left = max(1.0, end - clock.monotonic())
        answers.append(services.ask(replace(to, path=path, body=body, timeout_seconds=seconds_left)))
    good = [answer for answer in answers if is_ready(answer)]
    bad = next((answer for answer in answers if not is_ready(answer)), None)
    times = [answer.seconds for answer in good] or [0.0]
    return SmokeResult(
        path=path,
        requests=len(answers),
        status=answers[-1].status,
        is_json=bool(good) and all(_parse_json(answer.body) is not None for answer in good),
        p50_seconds=percentile(times, 0.5),
        p95_seconds=percentile(times, 0.95),
        tokens_per_second=_tokens_per_second(good) if body else None,
        problem="" if bad is None else f"{len(answers) - len(good)} of {len(answers)}: {bad.problem or bad.status}",
        mismatch=_mismatch(service, good, bad, services=services),
    )


def _mismatch(service: ServicePlan, good: list[ServiceAnswer], bad: ServiceAnswer | None, *, services: Services) -> str:
    """Return how the first answer that the schema does not allow differs from it. A missing answer matches nothing."""
    if service.smoke_schema is None:
        return ""
    if bad is not None:
        return f"a request got no good answer ({plain(bad.problem) or bad.status})"
    if any(len(answer.body) >= LARGEST_ANSWER for answer in good):
        return f"the answer has {LARGEST_ANSWER >> 10} KiB or more, and cvl-ci reads no more"
    return services.mismatch(service.smoke_schema, list(dict.fromkeys(answer.body for answer in good)))


def _model(services: Services, to: ServiceRequest) -> str:
    """Return the model that the server names; empty if it names none."""
    document = _parse_json(services.ask(replace(to, path="/v1/models")).body)
    models = document.get("data") if isinstance(document, Mapping) else None
    first = models[0] if isinstance(models, list) and models else None
    name = first.get("id") if isinstance(first, Mapping) else None
    return name if isinstance(name, str) and len(name) <= 300 else ""


def _tokens_per_second(answers: list[ServiceAnswer]) -> float | None:
    """Return the tokens that the server counted, by the seconds of the answers. None: it counted none."""
    tokens, seconds = 0.0, 0.0
    for answer in answers:
        document = _parse_json(answer.body)
        usage = document.get("usage") if isinstance(document, Mapping) else None
        count = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count < 1_000_000:
            tokens, seconds = tokens + count, seconds + answer.seconds
    return tokens / seconds if seconds > 0 else None


def _parse_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def keep_service(state: RunState, lease: Lease) -> Release | None:
    """Keep the machine of a service that answered, for its ttl. None: it is released."""
    service, launch, result = state.plan.service, state.launches.current, state.service
    facts = state.facts
    if service is None or launch is None or result is None or facts.failure is not None or facts.cancelled:
        return None
    if result.smoke is not None and result.smoke.mismatch:
        return None
    if state.plan.has_replicas:
        return _leave_to_server(state, lease, result)
    return keep_alive.keep(
        lease,
        plan=state.plan,
        launch=launch,
        spent_usd=spending.spent_before(state),
        clock=state.ports.clock,
        say=facts.warnings.append,
        minutes=service.ttl_minutes,
        labels=_labels(result.address, service),
    )


def _leave_to_server(state: RunState, lease: Lease, result: ServiceResult) -> Release | None:
    """Leave the service to the server's controller, until the deadline of its task. None, with a warning: it ends."""
    service = state.plan.service
    try:
        labels = _labels(urlsplit(result.url).netloc, service) if service is not None else {}
        return lease.keep(until=lease.record.deadline, public_key=None, labels=labels)
    except Exception as error:  # noqa: BLE001  after any error: a service that the server does not show is never kept
        state.facts.warnings.append(f"The API server does not show the service. {explain_while_running(error)}")
        return None


def conclusion(state: RunState, *, of_job: Conclusion) -> Conclusion:
    """Return the conclusion of a service. `of_job`: of the same facts about a job, which should have ended."""
    service, facts = state.plan.service, state.facts
    if service is None or facts.failure is not None or facts.cancelled or facts.lost is not None:
        return of_job
    if facts.release is not None and not facts.release.gone and facts.release.kept is None:
        return Conclusion(ending=Ending.FAILED, reason=of_job.reason, exit_code=EXIT_NOT_PROVED_GONE)
    if state.service is not None:
        if state.service.smoke is not None and state.service.smoke.mismatch:
            return Conclusion(
                ending=Ending.FAILED,
                reason=f"An answer of the service does not match its schema: {plain(state.service.smoke.mismatch)}.",
                exit_code=EXIT_ENDED,
                advice=f"The request was to {state.service.smoke.path}. Correct the server, or `smoke_schema`.",
            )
        if facts.release is not None and facts.release.kept is None:
            reason = "The service answered, but its machine could not be kept, so cvl-ci took it down."
            return Conclusion(ending=Ending.NEVER_STARTED, reason=reason, exit_code=EngineError.exit_code)
        return Conclusion(ending=Ending.SUCCEEDED, reason=f"The service answers at {state.service.url}.", exit_code=0)
    if facts.job is None or facts.job.is_infrastructure or not facts.job.nodes:
        return of_job
    end = facts.job.nodes[0]
    if end.timed_out:
        return Conclusion(
            ending=Ending.TIMED_OUT,
            reason=f"The service did not answer at {service.probe.path} within "
            f"{duration(service.probe.initial_delay_seconds)}, on its port {service.port}.",
            exit_code=EXIT_CODES[Ending.TIMED_OUT],
            advice="The last lines of its log name the cause. Raise `ready_timeout`, or name `port` and `ready`.",
        )
    code = end.exit_code or EXIT_ENDED
    return Conclusion(
        ending=Ending.FAILED,
        reason=f"The server ended with code {end.exit_code} before it answered.",
        exit_code=code,
        advice="The last lines of its log name the cause. A server that goes to the background ends its job: "
        "start it in the foreground.",
    )
