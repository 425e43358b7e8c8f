"""Determine how a job ended from its machines: exit codes, leftover processes, and lines that the stream missed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvl_ci.backoff import Backoff
from cvl_ci.engine import beginning, failed_mounts, fitness, sky_errors, whole_log
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.session import Session, within
from cvl_ci.engine.task import checkpoints, script
from cvl_ci.errors import EngineError
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.ports import JobEnd

ANSWER_SECONDS = 60.0
SSH_BACKOFF = Backoff(tries=3, first_seconds=5.0, growth=1.0)
LOG_SECONDS = 60.0
"""A machine waits at most this long for the end of its log, because it costs money meanwhile."""


class _Unreached(Exception):
    """Answers of which one is missing: ssh reached no machine there."""

    def __init__(self, answers: Sequence[dict[str, Any]]) -> None:
        super().__init__("a machine was not reached by ssh")
        self.answers = answers


@dataclass(frozen=True, kw_only=True)
class JobEndReader:
    """The end of the session's latest job, whose output `stream` has read."""

    session: Session
    stream: Following

    def by_itself(self) -> JobEnd:
        """Return the end of a job whose stream is over. The answers of the machines decide."""
        try:
            answers = self._ask_nodes()
        except Expired:
            self.session.stop()
            return JobEnd(lost=self.loss("The machine did not answer the question how the job ended."))
        except WorkerFailed as failure:
            why = f"The machine could not say how the job ended: {failure.error}: {failure.text}"
            return JobEnd(lost=self.loss(why))
        if len(answers) < (of := self.session.machines.num_nodes):
            return JobEnd(lost=self.loss(f"SkyPilot reached {len(answers)} of its {of} nodes, so its end is unknown."))
        silent = [rank for rank, answer in enumerate(answers) if not _is_answer(answer)]
        if silent:
            node = "The machine" if self.session.machines.num_nodes == 1 else f"Node {silent[0]}"
            why = f"{node} does not answer any more: {answers[silent[0]]['err'].strip()[:300]}"
            return JobEnd(lost=self.loss(why))
        nodes = self._nodes(answers)
        return JobEnd(
            nodes=nodes,
            unfit=fitness.why_unfit(nodes, begun=self.stream.nodes_begun, is_told=self.stream.told_unfit),
            failed_mount=failed_mounts.why(nodes, plan=self.session.job_plan, begun=self.stream.nodes_begun),
            never_began="" if beginning.has_begun(answers, stream=self.stream) else self._why_never(answers),
            warnings=self._whole_log(answers),
        )

    def cut_short(self) -> JobEnd:
        """Return the end of a job that passed its limit while the stream goes on.

        A node that reports its end has ended, in any state of the stream. The other nodes are cancelled, so that
        the job's outputs can still be fetched.
        """
        self.session.stop()
        try:
            answers = self._ask_once()
        except (Expired, WorkerFailed, EngineError):
            self.session.stop()
            answers = []
        nodes = self._nodes(answers)
        if len(nodes) >= self.session.machines.num_nodes and all(node.exit_code is not None for node in nodes):
            return JobEnd(nodes=nodes, warnings=self._whole_log(answers))
        has_prepared = beginning.has_prepared(answers, stream=self.stream)
        never_began = "" if has_prepared else self._why_never(answers, is_out_of_time=True)
        try:
            self.session.call("cancel", job_id=self.session.job_id, until=within(ANSWER_SECONDS))
        except (Expired, WorkerFailed, EngineError):
            self.session.stop()
        ranks = range(self.session.machines.num_nodes)
        nodes = tuple(NodeEnd(rank=rank, exit_code=None, timed_out=True) for rank in ranks)
        return JobEnd(nodes=nodes, never_began=never_began, warnings=self._whole_log(answers))

    def loss(self, why: str) -> Lost:
        """Return the loss of machines that do not answer. `why`: their silence, in words. The provider decides."""
        of = self.session.machines.num_nodes
        try:
            count = self.session.call("count_machines", until=within(ANSWER_SECONDS))
        except Expired:
            self.session.stop()
            return Lost(kind=LossKind.UNREACHABLE, why=why)
        except (WorkerFailed, EngineError):
            return Lost(kind=LossKind.UNREACHABLE, why=why)
        if not isinstance(count, int) or count >= of:
            return Lost(kind=LossKind.UNREACHABLE, why=why)
        return self.shown_lost(f"the provider shows {count} of its {of} nodes")

    def shown_lost(self, why: str) -> Lost:
        """Return the loss of machines that the provider does not show any more."""
        machines = self.session.machines
        if self.session.clock.now() >= machines.request.deadline:
            return Lost(kind=LossKind.ENDED_ITSELF, why=why)
        return Lost(kind=LossKind.PREEMPTED if machines.spot else LossKind.NODE_LOST, why=why)

    def _why_never(self, answers: Sequence[dict[str, Any]], *, is_out_of_time: bool = False) -> str:
        """Return why the job without traces never began; empty if SkyPilot's state of it shows that it deleted them."""
        try:
            status = self.session.call("job_status", job_id=self.session.job_id, until=within(ANSWER_SECONDS))
        except (Expired, WorkerFailed, EngineError):
            self.session.stop()
            status = None
        if beginning.has_deleted_traces(answers, status=status):
            return ""
        num_nodes = self.session.machines.num_nodes
        return beginning.why_never(status, num_nodes=num_nodes, is_out_of_time=is_out_of_time)

    def _nodes(self, answers: Sequence[dict[str, Any]]) -> tuple[NodeEnd, ...]:
        return checkpoints.believed(_nodes(answers), begun=self.stream.nodes_begun)

    def _ask_nodes(self) -> Sequence[dict[str, Any]]:
        """Ask every node how the job ended.

        Ask again if a node does not answer: a network may fail for a moment.
        """

        def ask() -> Sequence[dict[str, Any]]:
            answers = self._ask_once()
            if len(answers) < self.session.machines.num_nodes or not all(map(_is_answer, answers)):
                raise _Unreached(answers)
            return answers

        try:
            return SSH_BACKOFF.run(ask, pause=_pause_for_ssh)
        except _Unreached as unreached:
            return unreached.answers

    def _ask_once(self) -> Sequence[dict[str, Any]]:
        command = script.end(lease=self.session.folder)
        answer: Sequence[dict[str, Any]] = self.session.call("ask_nodes", command=command, until=within(ANSWER_SECONDS))
        return answer

    def _whole_log(self, answers: Sequence[dict[str, Any]]) -> tuple[str, ...]:
        """Print the lines that the stream missed. Return warnings about lines that could not be printed."""
        try:
            return self._repaired_log(answers)
        except Exception as error:  # noqa: BLE001  the job's own end is known, and no log may change it
            return (f"The end of the job's log may be missing: {type(error).__name__}: {error}"[:300],)

    def _repaired_log(self, answers: Sequence[dict[str, Any]]) -> tuple[str, ...]:
        sums = [sky_errors.read_sums(answer["out"]) for answer in answers]
        missing = self.stream.incomplete(sums, has_ended=[node.exit_code is not None for node in _nodes(answers)])
        if not missing:
            return ()
        parts = [sky_errors.read_sizes(answer["out"]) for answer in answers]
        with tempfile.TemporaryDirectory(prefix="cvl-ci-log-") as folder:
            remote = f"~/.cvl-ci/{self.session.folder}/log"
            try:
                problems = self.session.call(
                    "bring", remote=remote, files=parts, into=folder, until=within(LOG_SECONDS)
                )
            except Expired:
                self.session.stop()
                return (f"The end of the job's log is missing: the machine did not send it in {LOG_SECONDS:.0f} s.",)
            except WorkerFailed as failure:
                return (f"The end of the job's log may be missing: {failure.error}: {failure.text}"[:300],)
            return (*self._print_missed(Path(folder), missing, sums), *map(str, problems or ()))

    def _print_missed(
        self,
        folder: Path,
        missing: dict[tuple[int, str], list[whole_log.StreamedLog]],
        sums: Sequence[dict[str, whole_log.LogSum]],
    ) -> list[str]:
        warnings = []
        for (rank, name), came in missing.items():
            log_sum = sums[rank].get(name)
            dropped = log_sum.dropped_lines if log_sum else 0
            missing_part = whole_log.missed(came, stored=whole_log.read(folder / str(rank) / name), dropped=dropped)
            if missing_part.lines:
                self.stream.missed(rank, missing_part.lines)
            if missing_part.left_out:
                node = f" of node {rank}" if self.session.machines.num_nodes > 1 else ""
                warnings.append(
                    f"About {missing_part.left_out:,} lines of the log{node} are missing. "
                    "The stream did not deliver them, and the machine stores only the last 32 MiB."
                )
        return warnings


def _is_answer(answer: Mapping[str, Any]) -> bool:
    return script.has_answered(answer["code"], answer["out"])


def _nodes(answers: Sequence[dict[str, Any]]) -> tuple[NodeEnd, ...]:
    return tuple(sky_errors.read_end(rank, answer["out"]) for rank, answer in enumerate(answers))


def _pause_for_ssh(error: Exception, attempt: int) -> float | None:
    return SSH_BACKOFF.seconds(attempt) if isinstance(error, _Unreached) else None
