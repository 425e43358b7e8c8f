"""The log of a job is whole: what the stream brought, beside what the machine kept."""

from __future__ import annotations

import inspect
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine import job_end, node_commands, whole_log
from cvl_ci.engine.job_end import JobEndReader
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.process import Expired, WorkerFailed, pieces
from cvl_ci.engine.task.script import ANSWERED
from cvl_ci.engine.whole_log import StreamedLog, missed
from cvl_ci.errors import EngineError
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports import Event, Line, Progress
from tests import golden
from tests.support.fakes import FakeClock
from tests.support.sessions import launched

MESSAGES = golden.Messages(__name__)

RUN, SETUP = "\x1b[36m(cvl-try-1, pid=691)\x1b[0m ", "(setup pid=650) "
LOG = [f"step {number}" for number in range(1000)]


def heard_of(lines: Sequence[str]) -> StreamedLog:
    heard = StreamedLog()
    for text in lines:
        heard.line(text)
    return heard


@pytest.mark.parametrize(
    ("came", "kept", "missing"),
    [
        (LOG, LOG, []),
        (LOG[:-300], LOG, LOG[-300:]),
        ([], LOG, LOG),
        ([*LOG[:100], *LOG[103:]], LOG, LOG[100:103]),
        (["from .bashrc", *LOG[:-1]], LOG, LOG[-1:]),
        (["same"] * 7, ["same"] * 10, ["same"] * 3),
        (["a\r", "", "b"], ["a\r", "", "b\r", ""], [""]),
        ([*LOG[:5], "step", " 5", *LOG[6:]], LOG, ["step 5"]),
    ],
)
def test_what_the_stream_missed_is_found_line_by_line(came: list[str], kept: list[str], missing: list[str]) -> None:
    found = missed([heard_of(came)], stored="".join(f"{line}\n" for line in kept).encode(), dropped=0)
    assert (list(found.lines), found.left_out) == (missing, 0)


def test_a_last_line_without_an_end_counts() -> None:
    assert missed([heard_of(["a"])], stored=b"a\nb", dropped=0).lines == ("b",)


@pytest.mark.parametrize(
    ("streamed", "dropped", "missing", "left_out"), [(1000, 600, 0, 0), (700, 600, 300, 0), (400, 600, 400, 200)]
)
def test_of_a_long_log_the_end_is_compared_and_the_gap_is_counted(
    streamed: int, dropped: int, missing: int, left_out: int
) -> None:
    kept = "".join(f"{line}\n" for line in LOG[dropped:]).encode()
    found = missed([heard_of(LOG[:streamed])], stored=kept, dropped=dropped)
    assert list(found.lines) == (LOG[-missing:] if missing else [])
    assert found.left_out == left_out


def test_the_memory_of_lines_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_log, "MOST_LINES", 100)
    heard = heard_of(LOG[:-10])
    assert len(heard.lines) <= 201
    kept = "".join(f"{line}\n" for line in LOG[900:]).encode()
    assert list(missed([heard], stored=kept, dropped=900).lines) == LOG[-10:]


def test_a_link_that_a_machine_sends_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "new").write_text("secret")
    (tmp_path / "running").symlink_to(tmp_path / "private")
    (tmp_path / "setup").mkdir()
    (tmp_path / "setup" / "new").symlink_to(tmp_path / "private" / "new")
    (tmp_path / "setup" / "old").write_text("plain")
    assert (whole_log.read(tmp_path / "running"), whole_log.read(tmp_path / "setup")) == (b"", b"plain")


def test_a_line_is_passed_on_in_pieces_and_every_byte_of_it() -> None:
    text = b"ab cd " * 40 + b"\n" + b"\xc3\xa9" * 100 + b"\nshort\nlast"
    found = list(pieces(io.BytesIO(text), longest=64))
    assert all(len(piece) <= 64 for _, piece in found)
    lines: list[bytes] = []
    for is_rest, piece in found:
        lines = [*lines[:-1], lines[-1] + piece] if is_rest else [*lines, piece]
    assert lines == text.split(b"\n")
    assert all(piece.decode() for _, piece in found), "no character is cut in two"
    assert all(piece.endswith(b" ") for rest, piece in found[:3]), "nor a word, where there is a space"


# ---- what a person sees ------------------------------------------------------------------------------------------


NOT_ITS = {"cluster", "until"}
"""What the worker and its process take of a call, before the nodes are asked."""


class Machines:
    """A worker whose machines say how their job ended, and keep its log."""

    alive, busy = True, False

    def __init__(self, *logs: dict[str, bytes], sums: bool = True, exit_code: int = 139) -> None:
        self.logs, self.sums, self.exit_code = logs, sums, exit_code
        self.brought = 0
        self.verbs: list[str] = []
        self.failure: Exception | None = None

    def call(self, verb: str, **request: Any) -> Any:
        self.verbs.append(verb)
        if verb == "ask_nodes":
            return [{"code": 0, "out": self.end(log), "err": ""} for log in self.logs]
        if verb == "bring":
            if self.failure:
                raise self.failure
            inspect.signature(node_commands.bring).bind([], **{k: v for k, v in request.items() if k not in NOT_ITS})
            self.brought += 1
            for rank, log in enumerate(self.logs):
                for part, size in request["files"][rank]:
                    target = Path(request["into"]) / str(rank) / part
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(log[part.split("/")[0]][:size])
        return [] if verb == "bring" else None

    def end(self, log: dict[str, bytes]) -> str:
        lines = [f"exit_code={self.exit_code}", "timed_out=0"] if self.exit_code >= 0 else []
        for name, data in log.items():
            text = data.decode("utf-8", "replace").replace("\r", "").replace("\n", "")
            lines.append(f"size={name}/new {len(data)}")
            if self.sums:
                lines.append(f"log={name} {len(text)} {zlib.crc32(text.encode())} 0 0 {data.count(10)}")
        return "\n".join([*lines, "", ANSWERED])


def ending(machines: Machines, watched: list[Event]) -> tuple[JobEndReader, Following]:
    heard = Following(watched.append, num_nodes=len(machines.logs))
    plan = RunPlan(title="t")
    session = launched(machines, plan, clock=FakeClock(), staged=Path("/nowhere"), num_nodes=len(machines.logs))
    return JobEndReader(session=session, stream=heard), heard


def printed(watched: list[Event]) -> list[str]:
    return [event.text for event in watched if isinstance(event, Line)]


def test_a_stream_that_ended_early_is_made_whole_from_the_machine() -> None:
    machines = Machines({"setup": b"set up\n", "running": "".join(f"{line}\n" for line in LOG).encode()})
    watched: list[Event] = []
    end, heard = ending(machines, watched)
    for line in [SETUP + "set up", *(RUN + line for line in LOG[:-400])]:
        heard.line(line)
    ended = end.by_itself()
    assert printed(watched) == ["set up", *LOG]
    assert [node.exit_code for node in ended.nodes] == [139]
    assert ended.warnings == ()
    said = [event.text for event in watched if isinstance(event, Progress)]
    MESSAGES.check("missed lines", said)


def test_of_a_whole_stream_nothing_is_fetched_however_ray_cut_it() -> None:
    machines = Machines({"running": b"one line\r\ntwo\nthr\xc3\xa9\xff"})
    watched: list[Event] = []
    end, heard = ending(machines, watched)
    for line in ("one li", "ne", "two", "thr\xe9\ufffd"):
        heard.line(RUN + line)
    assert end.by_itself().warnings == ()
    assert machines.brought == 0


def test_several_nodes_are_told_apart_in_run_and_in_setup() -> None:
    machines = Machines(
        {"setup": b"head set up\n", "running": b"a0\nb0\n"}, {"setup": b"worker set up\n", "running": b"a1\nb1\n"}
    )
    watched: list[Event] = []
    end, heard = ending(machines, watched)
    for line in (
        "(setup pid=1) head set up",
        "(head, rank=0, pid=7) a0",
        "(worker1, rank=1, pid=7, ip=10.0.0.5) a1",
        "(head, rank=0, pid=7) b0",
    ):
        heard.line(line)
    end.by_itself()
    assert sorted(printed(watched)) == sorted(
        ["head set up", "(rank 1) worker set up", "(rank 0) a0", "(rank 0) b0", "(rank 1) a1", "(rank 1) b1"]
    )


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Expired(), "did not send it in 60 s"),
        (WorkerFailed(error="CommandError", text="rsync failed", history=(), trace=""), "CommandError: rsync failed"),
    ],
)
def test_an_end_of_the_log_that_cannot_be_fetched_is_said(failure: Exception, words: str) -> None:
    machines = Machines({"running": b"a\nb\n"})
    machines.failure = failure
    end, heard = ending(machines, [])
    heard.line(RUN + "a")
    [warning] = end.by_itself().warnings
    assert words in warning


def test_a_node_that_did_not_live_to_sum_its_log_is_asked_for_it() -> None:
    machines = Machines({"running": b"a\nb\n"}, sums=False, exit_code=-1)
    watched: list[Event] = []
    end, heard = ending(machines, watched)
    heard.line(RUN + "a")
    assert end.by_itself().nodes[0].exit_code is None
    assert printed(watched) == ["a", "b"]


def test_at_the_limit_a_node_that_has_said_its_end_has_ended() -> None:
    machines = Machines({"running": b"done\n"}, exit_code=0)
    watched: list[Event] = []
    end, _ = ending(machines, watched)
    ended = end.cut_short()
    assert [(node.exit_code, node.timed_out) for node in ended.nodes] == [(0, False)]
    assert "cancel" not in machines.verbs
    assert printed(watched) == ["done"]


def test_at_the_limit_a_node_that_has_not_ended_is_cancelled() -> None:
    machines = Machines({"running": b"going\n"}, sums=False, exit_code=-1)
    end, _ = ending(machines, [])
    assert [node.timed_out for node in end.cut_short().nodes] == [True]
    assert "cancel" in machines.verbs


def test_at_the_limit_a_worker_that_dies_leaves_a_job_that_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines({"running": b"going\n"})

    def died(verb: str, **_: Any) -> Any:
        raise EngineError("The process that drives SkyPilot ended by itself.")

    monkeypatch.setattr(machines, "call", died)
    end, _ = ending(machines, [])
    assert [node.timed_out for node in end.cut_short().nodes] == [True]


@pytest.mark.parametrize("answered", [0, 1])
def test_fewer_answers_than_nodes_are_a_loss_and_no_end(answered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SkyPilot returns no command runner for a machine whose address it does not find any more."""
    monkeypatch.setattr(job_end, "SSH_BACKOFF", replace(job_end.SSH_BACKOFF, sleep=lambda _: None))
    machines = Machines({"running": b"a\n"}, {"running": b"a\n"}, sums=False, exit_code=0)
    answers = machines.call("ask_nodes")[:answered]
    monkeypatch.setattr(machines, "call", lambda verb, **_: answers if verb == "ask_nodes" else None)
    end, _ = ending(machines, [])
    ended = end.by_itself()
    assert ended.nodes == () and f"reached {answered} of its 2 nodes" in str(ended.lost)
    assert [node.timed_out for node in end.cut_short().nodes] == [True, True]


def test_the_rest_of_a_long_line_is_the_jobs_and_not_ours() -> None:
    watched: list[Event] = []
    heard = Following(watched.append, num_nodes=1)
    heard.line(RUN + "begins ")
    heard.rest("::error::goes on")
    heard.line("SkyPilot's own")
    heard.rest("words go on")
    assert printed(watched) == ["begins ", "::error::goes on"]
    assert [event.text for event in watched if isinstance(event, Progress)] == ["SkyPilot's own"]


def test_what_a_machine_says_of_its_log_is_believed_only_where_it_makes_sense() -> None:
    from cvl_ci.engine.sky_errors import read_end, read_sums

    said = ["log=running 1 2 3 4 5", "log=a 1 2", "log=b -1 2 3 4 5", f"log=c {'9' * 99} 2 3 4 5", "log=d x 2 3 4 5"]
    assert set(read_sums("\n".join(said))) == {"running"}
    names = ["left=ok", "left=::error::x", "left=a b", "left=", "left=" + "x" * 99, *["left=many"] * 99]
    left = read_end(0, "\n".join(names)).left_behind
    assert left[:2] == ("ok", "::error::x") and len(left) <= 20 and set(left) == {"ok", "::error::x", "many"}
    assert json.dumps(left)


NO_ANSWERS: dict[str, dict[str, Any]] = {
    "ssh to a lost machine": {"code": 255, "out": "", "err": "Connection timed out"},
    "kubectl to a deleted pod": {"code": 1, "out": "", "err": 'Error from server (NotFound): pods "c" not found'},
    "an empty answer": {"code": 0, "out": "", "err": ""},
    "an answer that was cut": {"code": 1, "out": "exit_code=0\ntimed_out=0\n", "err": "unexpected EOF"},
    "a job that prints the last line": {"code": 137, "out": f"left={ANSWERED}\nleft=x\n", "err": ""},
}


@pytest.mark.parametrize("silence", NO_ANSWERS)
@pytest.mark.parametrize(("silences", "lost"), [(2, False), (3, True)])
def test_one_silent_node_of_several_is_asked_again_and_then_is_lost(
    silences: int, lost: bool, silence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failure reaches the other node first: that one's exit code says nothing about the job."""
    monkeypatch.setattr(job_end, "SSH_BACKOFF", replace(job_end.SSH_BACKOFF, sleep=lambda _: None))
    machines = Machines({"running": b"a\n"}, {"running": b"a\n"}, sums=False, exit_code=1)
    answers = machines.call("ask_nodes")
    asked: list[str] = []

    def call(verb: str, **_: Any) -> Any:
        asked.append(verb)
        return [answers[0], NO_ANSWERS[silence]] if len(asked) <= silences else answers

    monkeypatch.setattr(machines, "call", call)
    end, _ = ending(machines, [])
    ended = end.by_itself()
    assert (ended.lost is not None) is lost
    assert not lost or "Node 1 does not answer any more" in str(ended.lost)
