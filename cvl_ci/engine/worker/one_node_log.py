"""Print the log of a job of one node from its file, by ssh. A new connection goes on where the last one broke off.

SkyPilot's own way starts Python on the machine, which loads SkyPilot, and prints all lines again after each break. Its
daemon's way holds what it has not sent in the memory of the machine. In the worker process only.
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import sys
import threading
import time
from typing import Any

from sky import exceptions
from sky.utils import command_runner

from cvl_ci.engine.task.script import LOG_ENDS
from cvl_ci.engine.worker import job_driver, skylet_channel

BROKEN = 255
"""Stands where SkyPilot gives the exit code of ssh, which lost its connection."""
CONNECT_SECONDS = 10
STATE_SECONDS = 15.0
"""Seconds between two questions to the daemon about the job, whose program may end without its last line."""
LAST_SECONDS = 3.0
"""After the end of its job, a log without news for this long is at its end."""
LOOK_SECONDS = 0.5
LONGEST_GREETING = 1 << 16
_ACK = b"cvl-ci: connected\n"
_END = f"\n{LOG_ENDS}\n".encode()


class OneNodeLog:
    """The log of one job. `folder`: on the machine."""

    def __init__(self, job_id: int, folder: str) -> None:
        self._job_id = job_id
        home, _, below = folder.partition("~/")
        self._file = f"{shlex.quote(folder)}/run.log" if home else f'"$HOME"/{shlex.quote(below)}/run.log'
        self._count, self._last, self._came_at = 0, b"\n", 0.0

    def follow(self, handle: Any) -> int:
        """Print the rest of the log until the job is over. Return SkyPilot's JobExitCode, or BROKEN."""
        runner, self._came_at = handle.get_command_runners()[0], time.monotonic()
        command = (
            f"echo {_ACK.decode().strip()}; exec 3<&0; tail -s 0.1 -c +{self._count + 1} -f {self._file} & "
            "cat <&3 > /dev/null & wait -n; kill $(jobs -p)"  # its input ends with this connection
        )
        words = runner.ssh_base_command(
            ssh_mode=command_runner.SshMode.NON_INTERACTIVE, port_forward=None, connect_timeout=CONNECT_SECONDS
        )
        words.append(shlex.quote(f"bash -c {shlex.quote(command)}"))
        pipe = subprocess.PIPE
        with subprocess.Popen(
            ["/bin/sh", "-c", f"exec {' '.join(words)}"], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        ) as process:
            is_over = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(handle, process, is_over), daemon=True)
            watcher.start()
            try:
                self._print(process, is_over)
            finally:
                has_ended = is_over.is_set()
                is_over.set()
                process.kill()
        if not has_ended:
            return BROKEN
        return int(exceptions.JobExitCode.from_job_status(skylet_channel.job_state(handle, self._job_id)))

    def _print(self, process: subprocess.Popen[bytes], is_over: threading.Event) -> None:
        """Print until the last line of the log, or until the connection ends."""
        greeting, is_connected = b"", False
        while piece := _piece(process, is_over):
            if not is_connected:
                greeting += piece  # a login shell may print lines before the first one
                _, ack, piece = greeting.partition(_ACK)
                is_connected = bool(ack)
                if len(greeting) > LONGEST_GREETING:
                    return
            if is_connected:
                self._count += len(piece)
                _write(piece)
                self._came_at = time.monotonic()
                self._last = (self._last + piece)[-len(_END) :]
                if self._last == _END:
                    is_over.set()
                    return

    def _watch(self, handle: Any, process: subprocess.Popen[bytes], is_over: threading.Event) -> None:
        """End the connection after the end of the job, if the last line of its log does not come."""
        while not is_over.wait(STATE_SECONDS):
            state = skylet_channel.job_state(handle, self._job_id)
            if state is None or not state.is_terminal():
                continue
            while not is_over.wait(LOOK_SECONDS):
                if time.monotonic() - self._came_at > LAST_SECONDS:
                    is_over.set()
                    process.kill()


def of_job(handle: Any, job_id: int) -> OneNodeLog | None:
    """Return the log of a job. None: it has another form, or no daemon tells its place."""
    folder = skylet_channel.log_folder(handle, job_id) if job_driver.is_one_machine(handle) else None
    return OneNodeLog(job_id, folder) if folder else None


def _piece(process: subprocess.Popen[bytes], is_over: threading.Event) -> bytes:
    """Return the next bytes; none: the connection ended, or the job is over."""
    while process.stdout is not None and not is_over.is_set():
        if select.select([process.stdout], [], [], LOOK_SECONDS)[0]:
            return os.read(process.stdout.fileno(), 1 << 16)
        if process.poll() is not None:
            break
    return b""


def _write(data: bytes) -> None:
    sys.stdout.flush()
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
