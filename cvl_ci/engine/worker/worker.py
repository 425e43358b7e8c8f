"""Run SkyPilot in a process of its own: requests on stdin, answers on a separate channel, logs on stdout.

It is a program of its own (`worker.py CHANNEL PARENT HEARD SOCKETS`), because SkyPilot prints, forks, caches and reads
its HOME. It may do so here, and one SIGKILL to the process group certainly ends a launch. It dies with its parent, so
no launch outlives a killed run. A machine's output arrives on stdout only and can never pass for an answer.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cvl_ci.engine.own_processes import die_with_parent

HEARD_SECONDS = 60.0
"""The parent has this long to record the place, before a machine is requested there."""


RECORDED_FIRST = frozenset({"attempting", "making_bucket"})
"""The messages about what costs money. The worker asks a provider for it only after the parent has recorded it."""


MOST_CAUSES = 10


class Unheard(BaseException):
    """Missing confirmation of the parent.

    It is not an error of SkyPilot, so that SkyPilot cannot catch it and go on.
    """


class Channel:
    """Answers to the parent, one JSON object a line. `heard`: the descriptor on which the parent confirms one."""

    def __init__(self, descriptor: int, heard_reader: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
        self._heard = heard_reader
        self._writing = threading.Lock()
        # One message at a time waits, so that no thread takes another one's confirmation for its own.
        self._confirming = threading.Lock()

    def send(self, kind: str, **values: Any) -> None:
        if kind not in RECORDED_FIRST:
            self._write(kind, values)
            return
        with self._confirming:
            self._write(kind, values)
            self._wait()

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        with self._writing:
            self._file.write(json.dumps({"kind": kind, **values}, default=str) + "\n")
            self._file.flush()

    def _wait(self) -> None:
        ready, _, _ = select.select([self._heard], [], [], HEARD_SECONDS)
        if not ready or not os.read(self._heard, 1):
            raise Unheard("The next request could not be recorded, so no machine or bucket was requested.")


def serve(channel: Channel, *, sockets: Path) -> None:
    """Answer requests until stdin ends.

    Each request is {"id", "verb", "mark", ...}. SIGINT aborts the current one.
    """
    functions = load(sockets)
    for text in sys.stdin:
        request = json.loads(text)
        number, verb, mark = request.pop("id"), request.pop("verb"), request.pop("mark")
        try:
            if isinstance(functions, Exception):
                raise functions  # noqa: TRY301  answered like any other failure of the request
            answer = getattr(functions, verb)(channel.send, **request)
            result: dict[str, Any] = {"ok": True, "answer": answer}
        except KeyboardInterrupt:
            result = {"ok": False, "error": "Aborted", "text": "aborted", "history": []}
        except BaseException as error:  # noqa: BLE001  the parent must learn of every error
            result = {"ok": False, **describe(error)}
        sys.stdout.flush()
        # The mark tells the parent that it has read all of stdout that belongs to this request.
        os.write(1, f"\n{mark}\n".encode())
        channel.send("done", id=number, **result)


def load(sockets: Path) -> Any:
    """Import sky, which takes seconds, before the first request comes.

    If this fails, the error is the answer to that request.
    """
    try:
        from cvl_ci.engine.worker import private_channels

        private_channels.send_scripts_as_files()
        private_channels.log_in_to_registries_by_file()
        private_channels.keep_sockets_in(sockets)
        if os.environ.get("SKYPILOT_API_SERVER_ENDPOINT"):
            if os.environ.get("CVL_CI_MANAGED_JOBS"):
                from cvl_ci.engine.worker import sky_managed

                return sky_managed
            if os.environ.get("CVL_CI_REPLICAS"):
                from cvl_ci.engine.worker import sky_serve

                return sky_serve
            from cvl_ci.engine.worker import sky_server

            return sky_server
        from cvl_ci.engine.worker import command_guard, sky_local, skylet_channel

        command_guard.provide()
        skylet_channel.provide()
    except Exception as error:  # noqa: BLE001  the parent gets the error as text
        return error
    return sky_local


def describe(error: BaseException) -> dict[str, Any]:
    past = [*getattr(error, "failover_history", ()), *getattr(error, "reasons", ())]
    return {
        "error": type(error).__name__,
        "text": str(error),
        "bases": [item.__name__ for item in type(error).__mro__[1:]],
        "history": [_named(item) for item in past],
        "causes": [_named(item) for item in _causes(error)],
        "trace": traceback.format_exc(limit=-6),
    }


def _causes(error: BaseException) -> Iterator[BaseException]:
    for _ in range(MOST_CAUSES):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            return
        yield cause
        error = cause


def _named(error: object) -> str:
    return f"{type(error).__name__}: {error}"


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    serve(Channel(int(sys.argv[1]), int(sys.argv[3])), sockets=Path(sys.argv[4]))


if __name__ == "__main__":
    main()
