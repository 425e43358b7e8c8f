"""Implement the MachineLog port with SkyPilot: the end of a job's log, within limits of bytes and of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cvl_ci.engine.job_log import NO_JOB, READ, JobLog
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.session import Session, within
from cvl_ci.errors import EngineError

LOG_SECONDS = 90.0
"""The longest time of an answer that does not follow. A small machine loads SkyPilot's Python in several seconds."""
LARGEST_LOG = 4 << 20
"""The most letters of such an answer. A machine may send more lines than cvl-ci asks for, and lines of any length."""
BILLED = "Its machine is billed until its end."


class SkyPilotMachineLog:
    """The logs on the machines that SkyPilot of this computer knows. It needs their record and their key."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def state(self, cluster: str) -> str:
        return ""

    def show(self, cluster: str, *, count: int, is_following: bool, line: Callable[[str], None]) -> None:
        answer = _ShownLog(line, lines=math.inf if is_following else count)
        end = within(math.inf if is_following else LOG_SECONDS)
        try:
            state = self._session.worker().call(
                "tail_log",
                on_line=answer.line,
                on_rest=answer.rest,
                until=lambda: -math.inf if answer.is_enough else end() + answer.blocked_seconds,
                cluster=cluster,
                count=count,
                is_following=is_following,
            )
        except Expired:
            if not answer.is_enough:
                problem = f"did not send all of its log within {LOG_SECONDS:.0f} s"
                raise _silent(cluster, problem, is_heard=answer.is_heard) from None
            state = READ
        except WorkerFailed as failure:
            raise _without_way(cluster, failure, is_heard=answer.is_heard) from failure
        except EngineError as failure:  # its own words on money are those of a launch
            next_step = f"The service is as it was: run this again. {_end(cluster)}"
            raise EngineError(
                f"The log of {cluster} broke off. {failure.what}", money=BILLED, next_step=next_step
            ) from failure
        finally:
            self._session.stop()
        if state == NO_JOB:
            raise EngineError(f"The machine of {cluster} has no log of a job.", money=BILLED, next_step=_end(cluster))
        if state != READ:
            raise _silent(cluster, "does not answer by ssh, or the connection to it broke", is_heard=answer.is_heard)
        if answer.is_cut:
            line(f"cvl-ci: the machine sent more than {LARGEST_LOG >> 20} MiB of text; the rest is left out")


class _ShownLog:
    """Lines of a job as they come, up to the limits.

    `is_heard`: whether a line of the job came. `blocked_seconds`: the time in which the reader of the lines took none.
    """

    def __init__(self, show: Callable[[str], None], *, lines: float) -> None:
        self._show, self._lines_left = show, lines
        self._letters_left = LARGEST_LOG if lines < math.inf else math.inf
        self._log = JobLog(num_nodes=1)
        self.is_heard, self.blocked_seconds = False, 0.0

    @property
    def is_cut(self) -> bool:
        return self._letters_left <= 0

    @property
    def is_enough(self) -> bool:
        return self._lines_left <= 0 or self.is_cut

    def line(self, text: str) -> None:
        _, printed, _ = self._log.read(text)
        self._pass_on(text, printed)

    def rest(self, text: str) -> None:
        """Take the next piece of a line that is too long for one piece."""
        self._pass_on(text, self._log.rest(text))

    def _pass_on(self, raw: str, printed: str | None) -> None:
        if self.is_enough:
            return
        self._letters_left -= len(raw)
        if printed is not None:
            self._lines_left -= 1
            self.is_heard = True
            start = time.monotonic()
            self._show(printed)
            self.blocked_seconds += time.monotonic() - start


def _without_way(cluster: str, failure: WorkerFailed, *, is_heard: bool) -> EngineError:
    if failure.error == "ClusterDoesNotExist":
        return EngineError(
            f"This computer has no way into the machine of {cluster}: only the computer that started it has its keys.",
            money=BILLED,
            next_step=f"Run this there. {_end(cluster)}",
        )
    return _silent(cluster, f"does not answer: {failure.error}: {failure.text}"[:500], is_heard=is_heard)


def _silent(cluster: str, problem: str, *, is_heard: bool) -> EngineError:
    """Return the error of a machine whose log is not complete. After lines of it, no end of the machine is advised."""
    look = f"cvl-ci deploy --status {cluster}"
    return EngineError(
        f"The machine of {cluster} {problem}.",
        money="If it still runs, it is billed until its end.",
        next_step=f"Run this again, or ask whether its service answers: {look}"
        if is_heard
        else f"Ask whether its service answers: {look}\n{_end(cluster)}",
    )


def _end(cluster: str) -> str:
    return f"End it with proof: cvl-ci deploy --down {cluster}"
