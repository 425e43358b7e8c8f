"""`drill`: kill a real run in a phase on purpose, then ask the provider until no machine is left.

A drill proves each line alone, and touches nothing before that line had its time. The death itself cuts the lines
before it; nothing runs `down` or `reap`. When a line fails, the drill calls the next one, and the receipt says so.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cvl_ci.commands.drill.ports import DrillPorts, Run
from cvl_ci.errors import NOTHING_STARTED, CvlError, InputProblem, NotProvedGone, RequestError
from cvl_ci.inputs import drill_inputs
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.outcome import Phase
from cvl_ci.ports import Cloud, Event, InventoryResult
from cvl_ci.result.receipt import AFTERWARDS, MACHINE, MAIN, REAPER, Receipt

SETTLE_SECONDS = 10.0
"""No machine seen for so long means none: a request of this moment is listed later (SETTLE_SECONDS of lease.py)."""
LOOK_SECONDS = 2.0
PHASE_SECONDS = 900.0
"""A machine may have to be found and set up before the phase begins."""
WORK_SECONDS = 300.0
"""A process has this long to end a machine with proof: GitHub gives post no more."""
AFTERWARDS_SECONDS = 60.0
"""After the process has ended, it can end no machine any more."""
OUTAGE_SECONDS = 60.0

_FIRST = {
    drill_inputs.SIGINT: MAIN,
    drill_inputs.SIGTERM: MAIN,
    drill_inputs.NETWORK: MAIN,
    drill_inputs.CREDENTIALS_EXPIRED: MAIN,
    drill_inputs.SIGKILL: AFTERWARDS,
    drill_inputs.RUNNER_LOST: MACHINE,
}
_SIGNALS = {drill_inputs.SIGINT: signal.SIGINT, drill_inputs.SIGTERM: signal.SIGTERM}


@dataclass(frozen=True, kw_only=True)
class DrillRequest:
    phase: Phase
    kill: str


def requested_drills(inputs: drill_inputs.DrillInputs, *, location: Location | None, server: str) -> list[DrillRequest]:
    """Return the requested drills. Raises RequestError with all mistakes, and with the reason for an impossible kill.

    `server`: the address of the API server that would drive a run there, empty without one.
    """
    problem = "is missing: name a cloud, such as `sandbox`"
    mistakes = [] if location else [InputProblem(field="--cloud", value="", problem=problem)]
    phase, kill = inputs.phase, inputs.kill
    if inputs.all and (phase or kill):
        mistakes.append(InputProblem(field="--all", value="", problem="runs every phase and every kill: name no other"))
    for name, value in (("--phase", phase), ("--kill", kill)):
        if not value and not inputs.all:
            mistakes.append(InputProblem(field=name, value="", problem="is missing: name it, or use --all"))
    if location and kill and (why := refusal(kill, location=location, server=server)):
        mistakes.append(InputProblem(field="--kill", value=kill, problem=f"is not possible here: {why}"))
    if mistakes or location is None:
        raise RequestError(mistakes)
    if phase and kill:
        return [DrillRequest(phase=Phase(phase), kill=kill)]
    deaths = [kill_name for kill_name in drill_inputs.KILLS if not refusal(kill_name, location=location, server=server)]
    return [DrillRequest(phase=Phase(kill_name), kill=death) for kill_name in drill_inputs.PHASES for death in deaths]


def refusal(kill: str, *, location: Location, server: str) -> str:
    """Return why a run there cannot die of this; empty: it can."""
    if kill == drill_inputs.API_SERVER:
        if server:
            return f"the API server at {server} serves others too, so a drill must not kill it"
        return "no API server drives a run here; a process of its own does, and dies with it"
    if kill == drill_inputs.NETWORK and location.cloud != SANDBOX:
        return "a drill must not cut this computer's network; it can cut the sandbox's"
    if kill == drill_inputs.CREDENTIALS_EXPIRED and location.cloud != SANDBOX:
        return "a drill cannot let your keys expire; it can do so with the sandbox's"
    return ""


def drill(requests: Sequence[DrillRequest], *, location: Location, user_id: str, ports: DrillPorts) -> list[Receipt]:
    """Run the drills one after the other, on one opened cloud: a sandbox must outlive the run that is killed."""
    receipts = []
    with ports.clouds.open([location], user_id=user_id, watch=_silent) as cloud:
        for number, request in enumerate(requests, 1):
            ports.say(f"drill {number} of {len(requests)}: {request.kill} while {request.phase.value}")
            try:
                receipts.append(_Drill(request, location=location, cloud=cloud, ports=ports).run_drill())
            except CvlError as error:
                if error.money == NOTHING_STARTED:  # a machine that stays raises NotProvedGone instead
                    error.money = "cvl-ci has taken down all that the drill had started."
                raise
    return receipts


class _Drill:
    """One drill."""

    def __init__(self, request: DrillRequest, *, location: Location, cloud: Cloud, ports: DrillPorts) -> None:
        self._wanted, self._location, self._cloud = request, location, cloud
        self._asked_location = Location(cloud=cloud.through) if cloud.through else location
        self._clock, self._launcher, self._say = ports.clock, ports.launcher, ports.say
        self._latest = ports.clock.now() + _longest_minutes(request) * 60
        """The moment by which the machine must have ended itself."""
        self._run = self._launcher.start(_options(request, location), task=_task(request))

    def run_drill(self) -> Receipt:
        """Carry out the drill. It leaves nothing behind after any event, including a person's Ctrl-C."""
        receipt: Receipt | None = None
        try:
            receipt = self._killed_receipt() if self._is_there() else self._not_killed()
        finally:
            self._run.close()
            if self._run.lease and (receipt is None or not receipt.is_gone):
                self._last_resort(has_receipt=receipt is not None)
        return receipt if receipt.is_gone else replace(receipt, checks=self._receipt(self._list_resources()).checks)

    def _last_resort(self, *, has_receipt: bool) -> None:
        """Take down the rest of the run. `told`: a receipt lists the leftovers; without one, raise an error."""
        self._say(f"taking down the rest of {self._run.lease}")
        command = self._launcher.type(["down", self._run.lease])
        stopped = False
        try:
            try:
                code = command.wait(within=WORK_SECONDS)
            except KeyboardInterrupt:  # the only one: the answer to a later one is an error in words
                stopped, code = True, command.wait(within=WORK_SECONDS)
        finally:
            command.close()
        if code == 0 and stopped:
            raise KeyboardInterrupt
        if code != 0 and (stopped or not has_receipt):
            raise NotProvedGone(
                f"The drill was stopped, and there is no proof that the machine of {self._run.lease} is gone.",
                money="It may still be running and billed until its own end, at the latest "
                f"{_longest_minutes(self._wanted):.0f} minutes after the drill began.",
                next_step=f"`cvl-ci down {self._run.lease} --cloud {self._location}` takes it down.",
            )

    def _is_there(self) -> bool:
        phase = self._wanted.phase
        is_reached = self._run.wait_for_phase(phase, within=PHASE_SECONDS)
        if is_reached and phase is Phase.PROVISIONING:
            # A death before a machine exists would prove nothing.
            is_reached = (
                self._run.wait_until(lambda: self._run.has_requested, PHASE_SECONDS) and self._machine_is_seen()
            )
        return is_reached and self._run.phase is phase

    def _machine_is_seen(self) -> bool:
        """Wait until the provider shows a machine. Ask a silent provider again, like one without machines."""
        while True:
            resources, _silent = self._list_resources().read()
            if resources:
                return True
            if self._run.wait(within=0.5) is not None or self._clock.now() > self._latest:
                return False

    def _not_killed(self) -> Receipt:
        """Let the run end by its own main, and return the reason why nothing was killed."""
        self._run.wait(within=WORK_SECONDS)
        answer = self._list_resources()
        last = next((line for line in reversed(self._run.lines) if line.strip()), "it printed nothing")
        problem = f"the run ended, hung or went on before it was caught in {self._wanted.phase.value}: {last}"
        return replace(self._receipt(answer), problem=problem)

    # ---- after the kill ----------------------------------------------------------------------------------------------

    def _killed_receipt(self) -> Receipt:
        self._kill()
        killed, answer = self._clock.monotonic(), self._list_resources()
        resources, silent = answer.read()
        receipt = replace(self._receipt(answer), seen_after_kill=sum(not resource.ending for resource in resources))
        unheard = f", and no answer came from {'; '.join(silent)}" if silent else ""
        self._say(f"killed; the provider shows {receipt.seen_after_kill} of it{unheard}")
        if problem := self._too_late(receipt):
            return replace(receipt, problem=problem)
        for line in range(receipt.first, REAPER + 1):
            if line > receipt.first:
                self._say(f"line {line - 1} did not catch it")
                self._run.kill_all()  # also if it only hangs
            answer, since = self._until_none(self._called_in(line))
            receipt = replace(receipt, checks=self._receipt(answer).checks, at=self._clock.now())
            if since is not None:
                return replace(receipt, line=self._credited(line, receipt), seconds=max(0.0, since - killed))
        return receipt

    def _too_late(self, receipt: Receipt) -> str:
        """Return why the kill came too late: a resource that was ending already must not count for a later line."""
        phase = self._wanted.phase
        if receipt.first == MAIN:
            return ""
        self._run.wait(within=5.0)  # read all that it had written
        if self._run.phase is not phase:
            return f"it had reached {self._run.phase.value if self._run.phase else 'nothing'} when it died"
        if receipt.is_gone and phase is not Phase.RELEASING:
            return "its machine was ending already when it died"
        return ""

    def _kill(self) -> None:
        kill = self._wanted.kill
        if kill in _SIGNALS:
            self._run.send(_SIGNALS[kill])
        elif kill == drill_inputs.SIGKILL:
            self._run.kill()
        elif kill == drill_inputs.RUNNER_LOST:
            self._run.kill_all()
        else:
            with self._launcher.outage(kill):
                self._clock.sleep(OUTAGE_SECONDS)

    def _called_in(self, line: int) -> Run | None:
        """Start the work of this line; None: the machine does it."""
        if line == MAIN:
            return self._run
        if line == AFTERWARDS:
            return self._launcher.type(["down", self._run.lease])
        if line == REAPER:
            return self._launcher.type(["reap", "--cloud", str(self._location), "--grace", "0"])
        return None

    def _until_none(self, worker: Run | None) -> tuple[InventoryResult, float | None]:
        """Return the last answer, and the monotonic moment since which it shows none; None: resources remain."""
        since: float | None = None
        patience = WORK_SECONDS if worker else max(AFTERWARDS_SECONDS, self._latest - self._clock.now())
        until, at_work = self._clock.monotonic() + patience, worker is not None
        while True:
            start, answer = self._clock.monotonic(), self._list_resources()
            if at_work and worker is not None and worker.wait(within=0.0) is not None:
                at_work, until = False, min(until, start + AFTERWARDS_SECONDS)
            since = (start if since is None else since) if self._receipt(answer).is_gone else None
            settled = since is not None and start - since >= SETTLE_SECONDS and not at_work
            if settled or start > until:
                if worker is not None and worker is not self._run:
                    worker.close()
                return answer, since
            self._clock.sleep(LOOK_SECONDS)

    def _credited(self, line: int, receipt: Receipt) -> int:
        """Return the line that gets the credit: main, if the provider accepted main's request before main died."""
        return MAIN if self._wanted.phase is Phase.RELEASING and not receipt.seen_after_kill else line

    def _list_resources(self) -> InventoryResult:
        """Ask the provider, and no other source. A cloud out of reach gives no answer."""
        try:
            return self._cloud.inventory.find(lease=self._run.lease or None, locations=[self._asked_location])
        except CvlError:
            return InventoryResult()

    def _receipt(self, answer: InventoryResult) -> Receipt:
        return Receipt(
            phase=self._wanted.phase,
            kill=self._wanted.kill,
            lease=self._run.lease,
            first=_FIRST[self._wanted.kill],
            at=self._clock.now(),
            checks=() if answer.unproved else answer.asked,
        )


# ---- the run that is killed --------------------------------------------------------------------------------------


def _task(request: DrillRequest) -> str:
    """Return a task that lasts in the phase of the kill and is quick before it. Its file takes time to fetch."""
    lasting = OUTAGE_SECONDS / 2 if request.kill in {drill_inputs.NETWORK, drill_inputs.CREDENTIALS_EXPIRED} else 900
    seconds = {phase: lasting if phase is request.phase else 1 for phase in (Phase.SETUP, Phase.RUNNING)}
    return (
        f"setup: sleep {seconds[Phase.SETUP]:.0f}\n"
        f"run: head -c 50000000 /dev/urandom > drilled; sleep {seconds[Phase.RUNNING]:.0f}\n"
    )


def _options(request: DrillRequest, location: Location) -> list[str]:
    provisioning, runtime, heartbeat = _minutes(request)
    return [
        *("--cloud", str(location), "--gpu", "none"),
        *("--provision-timeout", f"{provisioning}m", "--max-runtime", f"{runtime}m"),
        *("--heartbeat-minutes", str(heartbeat)),
    ]


def _minutes(request: DrillRequest) -> tuple[int, int, int]:
    """Return provisioning, runtime and heartbeat. They are short only if the drill proves the machine's own end.

    On a slow computer or cloud a shorter heartbeat would pass before its renewal, although nothing was lost.
    """
    if _FIRST[request.kill] != MACHINE:
        return 15, 20, 20
    return (4 if request.phase is Phase.PROVISIONING else 12), 3, 3


def _longest_minutes(request: DrillRequest) -> float:
    """Return the longest life of the machine, including the time that a provider may need to end it."""
    provisioning, runtime, _ = _minutes(request)
    return provisioning + runtime + RELEASE_MINUTES + 3


def _silent(event: Event) -> None:
    """Ignore the event: the run itself reports it."""
