"""Drive the worker process: a call waits for its answer and for every line printed before it; a kill is certain."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from cvl_ci.engine import connections
from cvl_ci.engine.own_processes import FROM_NO_FOLDER
from cvl_ci.engine.worker.worker import RECORDED_FIRST
from cvl_ci.errors import EngineError
from cvl_ci.result.sanitize import encodable

_AS_ISOLATED = ("-I",) if sys.flags.isolated else ()
"""The action's Python imports no module from its working folder, which a pull request fills.

Its child must not either.
"""

ABORT_SECONDS = 3.0
"""An interrupted request has this long to leave its API call."""

LONGEST_PIECE = 1 << 20
"""Bytes of a line that are passed on at once."""
LONGEST_ANSWER = 64 << 20
"""An answer is JSON, and is read as a whole or not at all."""
LONGEST_CHATTER = 2000
"""Bytes of each of the worker's last lines; a line may have a mebibyte."""


class Expired(Exception):
    """The call's time is over, and the worker still processes it."""


class WorkerFailed(Exception):
    """Failure in SkyPilot. `error`: the name of its exception's type. `bases`: the names of its base classes.

    `history`: the places that failed before. `causes`: the exceptions behind it. Each is `Type: text`.
    """

    def __init__(
        self,
        *,
        error: str,
        text: str,
        history: tuple[str, ...] = (),
        bases: tuple[str, ...] = (),
        causes: tuple[str, ...] = (),
        trace: str = "",
    ) -> None:
        super().__init__(f"{error}: {text}")
        self.error, self.text, self.history, self.trace = error, text, history, trace
        self.bases, self.causes = bases, causes


class Worker:
    """One worker process. It is not thread-safe: one call at a time, from one thread."""

    def __init__(self, *, environment: Mapping[str, str]) -> None:
        # Bounded, so that a flood of log lines waits in the machine's pipe and not in our memory.
        self._inbox: queue.Queue[tuple[str, str]] = queue.Queue(maxsize=10_000)
        self._chatter: collections.deque[str] = collections.deque(maxlen=40)
        self._busy = False
        self._calls = 0
        reader, writer = os.pipe()
        heard_reader, self._heard = os.pipe()
        # Short, as a socket's path must be. No other user can create it or look into it.
        self._sockets = tempfile.mkdtemp(prefix="cvl.", dir="/tmp")
        self._environment = dict(environment)
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *_AS_ISOLATED,
                    "-m",
                    "cvl_ci.engine.worker.worker",
                    str(writer),
                    str(os.getpid()),
                    str(heard_reader),
                    self._sockets,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(writer, heard_reader),
                start_new_session=True,
                env={**environment, **FROM_NO_FOLDER},
            )
        finally:
            os.close(writer)
            os.close(heard_reader)
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        if stdin is None or stdout is None or stderr is None:
            raise EngineError("A process was started without its pipes.")
        self._stdin = stdin
        for kind, stream in (
            ("answer", os.fdopen(reader, "rb")),
            ("out", stdout),
            ("err", stderr),
        ):
            threading.Thread(target=self._read, args=(kind, stream), daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def busy(self) -> bool:
        return self._busy and self.alive

    def call(
        self,
        verb: str,
        *,
        on_line: Callable[[str], None] = lambda _: None,
        on_rest: Callable[[str], None] = lambda _: None,
        on_event: Callable[[Mapping[str, Any]], None] = lambda _: None,
        until: Callable[[], float] | None = None,
        **request: Any,
    ) -> Any:
        """Return the answer of one verb of sky_local.py or sky_server.py.

        `until`: monotonic seconds. After it, raise Expired, and the worker stays busy. `on_rest`: gets the next piece
        of a line that is too long for one.
        """
        self._calls += 1
        mark = secrets.token_hex(16)
        message = {"id": self._calls, "verb": verb, "mark": mark, **request}
        self._busy = True
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._died() from None
        return self._await(mark, {"out": on_line, "rest": on_rest}, on_event, until)

    def abort(self) -> bool:
        """Interrupt the current call. Return True if it ended in time."""
        if not self.busy:
            return True
        os.kill(self._process.pid, signal.SIGINT)
        deadline = time.monotonic() + ABORT_SECONDS
        while time.monotonic() < deadline and self.alive:
            try:
                kind, text = self._inbox.get(timeout=0.1)
            except queue.Empty:
                continue
            if kind == "answer" and text and json.loads(text)["kind"] == "done":
                self._busy = False
                return True
        return not self.alive

    def kill(self) -> None:
        """Kill the worker. Afterwards no process of its session is alive, and no connection waits for more."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._busy = False
        try:
            connections.end_kept(Path(self._sockets), environment=self._environment)
        finally:
            shutil.rmtree(self._sockets, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._heard)
        self._heard = -1

    def close(self) -> None:
        """Close an idle worker, which only has to exit."""
        try:
            self._stdin.close()
            self._process.wait(timeout=2)
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.kill()

    def _await(
        self,
        mark: str,
        on_output: Mapping[str, Callable[[str], None]],
        on_event: Callable[[Mapping[str, Any]], None],
        until: Callable[[], float] | None,
    ) -> Any:
        answer: dict[str, Any] | None = None
        drained = False
        while answer is None or not drained:
            if until is not None and time.monotonic() >= until():
                raise Expired
            try:
                kind, text = self._inbox.get(timeout=0.2)
            except queue.Empty:
                if not self.alive and self._inbox.empty():
                    raise self._died() from None
                continue
            if kind == "answer" and text:
                event = encodable(json.loads(text))
                if event["kind"] == "done":
                    answer = event if event["id"] == self._calls else answer
                else:
                    on_event(event)
                    self._took_note(event)
            elif kind == "err":
                self._chatter.append(text)
            elif kind == "out" and text == mark:
                drained = True
            elif kind in on_output:
                self._chatter.append(text[:LONGEST_CHATTER])
                on_output[kind](text)
        self._busy = False
        return self._result(answer)

    def _took_note(self, event: Mapping[str, Any]) -> None:
        """Confirm an attempt or a bucket. The worker asks no provider before it reads this.

        If `on_event` raised, it never does.
        """
        if event["kind"] in RECORDED_FIRST:
            with contextlib.suppress(OSError):  # a dead worker requests nothing either
                os.write(self._heard, b"+")

    def _result(self, answer: dict[str, Any]) -> Any:
        if answer["ok"]:
            return answer["answer"]
        raise WorkerFailed(
            error=answer["error"],
            text=answer["text"],
            history=tuple(answer.get("history", ())),
            bases=tuple(answer.get("bases", ())),
            causes=tuple(answer.get("causes", ())),
            trace=answer.get("trace", ""),
        )

    def _died(self) -> EngineError:
        self._busy = False
        code = self._process.poll()
        return EngineError(
            f"The process that drives SkyPilot ended by itself (status {code}). Its last lines:\n"
            + "\n".join(f"  {line}" for line in list(self._chatter)[-8:]),
            money="A machine may have been requested. cvl-ci searches for it and takes it down.",
            next_step="If it happens again, report it with these last lines.",
        )

    def _read(self, kind: str, stream: IO[bytes]) -> None:
        r"""Read lines, which end at \\n alone.

        A progress bar's \\r belongs to the line, and the terminal interprets it.
        """
        with stream:
            for is_rest, piece in pieces(stream, longest=LONGEST_ANSWER if kind == "answer" else LONGEST_PIECE):
                which = "rest" if is_rest and kind == "out" else kind
                self._inbox.put((which, piece.decode("utf-8", "replace")))


def pieces(stream: IO[bytes], *, longest: int) -> Iterator[tuple[bool, bytes]]:
    """Yield each line without its end, a long one in pieces. True: the piece continues the piece before.

    A piece ends at a space if there is one near: the masks could not recognize a secret in two pieces.
    """
    buffered, is_rest = b"", False
    while part := stream.readline(longest - len(buffered)):
        buffered += part
        if buffered.endswith(b"\n"):
            yield is_rest, buffered[:-1]
            buffered, is_rest = b"", False
        elif len(buffered) >= longest:
            space = buffered.rfind(b" ", longest // 2) + 1
            space = space or _whole_characters(buffered)
            yield is_rest, buffered[:space]
            buffered, is_rest = buffered[space:], True
    if buffered:
        yield is_rest, buffered


def _whole_characters(data: bytes) -> int:
    """Return the start of a last character that may continue after these bytes, else their length."""
    for back in range(1, 4):
        if data[-back] >= 0xC0:
            return len(data) - back
        if data[-back] < 0x80:
            break
    return len(data)
