"""Call SkyPilot's daemon on a machine, where SkyPilot would start Python on the machine for each call.

To arm a machine's end, or to add, queue or cancel a job, SkyPilot 0.14.1 starts `python -c "from sky.skylet import …"`
there. Each start loads SkyPilot: seconds of a small machine's processor. Its daemon, skylet, has loaded it already and
takes the same calls by gRPC (sky/skylet/services.py). SkyPilot has that way too, behind SKYPILOT_ENABLE_GRPC, but
through a port of this computer that each of its users could call. Here the way leads through a socket in the private
folder, and SkyPilot's first way follows where the daemon does not answer. In the worker process only.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from sky import backends, exceptions
from sky.backends import backend_utils
from sky.schemas.generated import jobsv1_pb2, jobsv1_pb2_grpc
from sky.skylet import constants, job_lib
from sky.utils import command_runner

from cvl_ci.backoff import Pace
from cvl_ci.engine.worker import private_channels

AGAIN = ("set_autostop", "get_job_status", "cancel_jobs", "_add_job")
"""The backend's calls that may happen twice. After a failure SkyPilot's first way follows."""
ONCE = ("_exec_code_on_head",)
"""The call that queues a job. A second time would run the job twice, so after a doubt nothing follows."""
CONNECT_SECONDS = 10
READY_SECONDS = 15.0
"""A daemon that has just started loads SkyPilot first."""
QUEUE_SECONDS = 120.0
"""SkyPilot gives the daemon ten seconds to queue a job. A small machine that is busy needs longer."""
TAKEN = Pace(every_seconds=1.0, within_seconds=20.0)
"""After a doubt, cvl-ci asks the daemon this long whether it has the job."""
LONGEST_MESSAGE = 3 << 20
"""gRPC takes four MiB. A longer program goes to the machine as a file."""
ASK_SECONDS = 20.0
_ACK = b"connected\n"
_FAILURES = (
    grpc.RpcError,
    exceptions.SkyletInternalError,
    exceptions.SkyletMethodNotImplementedError,
    exceptions.SkyletUnavailableError,
)

_is_called: ContextVar[bool] = ContextVar("_is_called", default=False)
"""Whether the present call may go to the daemon."""
_is_once: ContextVar[bool] = ContextVar("_is_once", default=False)
_is_inline: ContextVar[bool] = ContextVar("_is_inline", default=False)
_address: ContextVar[str] = ContextVar("_address", default="")
"""The head whose daemon has the present call."""


class _Connection:
    """An ssh connection to the head of a cluster, and a channel to its daemon. It ends with this process."""

    def __init__(self, runner: Any, socket: Path) -> None:
        socket.unlink(missing_ok=True)
        runner.disable_control_master = True
        words = runner.ssh_base_command(
            ssh_mode=command_runner.SshMode.NON_INTERACTIVE, port_forward=None, connect_timeout=CONNECT_SECONDS
        )
        forward = f"{socket}:localhost:{constants.SKYLET_GRPC_PORT}"
        # The words are quoted for a shell, as SkyPilot's own runner takes them. `cat` ends with this process.
        words[1:1] = ["-L", shlex.quote(forward), "-o", "ExitOnForwardFailure=yes"]
        words.append(shlex.quote(f"echo {_ACK.decode().strip()} && cat"))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {' '.join(words)}"], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        )
        self.channel = grpc.intercept_channel(grpc.insecure_channel(f"unix:{socket}"), _LongQueueing())

    def is_ready(self) -> bool:
        """Wait until the daemon answers; False: it does not in time."""
        if not self._is_connected():
            return False
        try:
            grpc.channel_ready_future(self.channel).result(timeout=READY_SECONDS)
        except grpc.FutureTimeoutError:
            return False
        return self.is_alive

    def _is_connected(self) -> bool:
        """Read the first bytes of the machine, which may be slow, endless, or others."""
        output, content, until = self._process.stdout, b"", time.monotonic() + 2 * CONNECT_SECONDS
        while output is not None and len(content) < len(_ACK) and _ACK.startswith(content):
            if not select.select([output], [], [], max(0.0, until - time.monotonic()))[0]:
                return False
            piece = os.read(output.fileno(), len(_ACK) - len(content))
            if not piece:
                return False
            content += piece
        return content == _ACK

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the connection. The channel stays: a call of another thread gets an error of gRPC."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()


class _LongQueueing(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types here
    """Give the call that queues a job QUEUE_SECONDS."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        name = details.method.decode() if isinstance(details.method, bytes) else details.method
        if name.endswith("/QueueJob"):
            details = _Details(details.method, QUEUE_SECONDS, *details[2:])
        return continuation(details, request)


class _Details(NamedTuple):
    """The facts of a call, as gRPC hands them to an interceptor (grpc.ClientCallDetails)."""

    method: str
    timeout: float | None = None
    metadata: Any = None
    credentials: Any = None
    wait_for_ready: bool | None = None
    compression: Any = None


_connections: dict[str, _Connection | None] = {}
"""The connection to each head, by cluster and address. None: its daemon did not answer, and is not tried again."""
_numbers = itertools.count()
_opening = threading.Lock()


def provide() -> None:
    """Let the calls of AGAIN and ONCE go to the daemon, where it answers."""
    backend, handle = backends.CloudVmRayBackend, backends.CloudVmRayResourceHandle
    if hasattr(handle, "is_through_skylet"):
        return
    for name in AGAIN:
        setattr(backend, name, _through(getattr(backend, name), is_once=False))
    for name in ONCE:
        setattr(backend, name, _through(getattr(backend, name), is_once=True))
    handle.is_through_skylet = True
    handle.is_grpc_enabled_with_flag = property(lambda one: _is_called.get() and _connection(one) is not None)
    handle.get_grpc_channel = _channel
    original = backend_utils.invoke_skylet_with_retries

    def invoke(call: Callable[[], Any]) -> Any:
        try:
            return call() if _is_once.get() else original(call)
        except exceptions.SkyletUnavailableError:
            _leave(_address.get())
            raise

    backend_utils.invoke_skylet_with_retries = invoke
    is_too_long = backend_utils.is_command_length_over_limit
    # The channel is private, so that a program needs no file of its own on the way (private_channels.py).
    backend_utils.is_command_length_over_limit = lambda text: (
        len(text.encode()) > LONGEST_MESSAGE if _is_called.get() and _is_inline.get() else is_too_long(text)
    )


def log_folder(handle: Any, job_id: int) -> str | None:
    """Return the folder of a job's log on its machine. None: no daemon answered, or it does not know the job."""
    answer = _ask(handle, "GetLogDirsForJobs", jobsv1_pb2.GetLogDirsForJobsRequest(job_ids=[job_id]))
    return None if answer is None else answer.job_log_dirs.get(job_id)


def job_state(handle: Any, job_id: int) -> job_lib.JobStatus | None:
    """Return the state of a job, after the daemon has looked for its program. None: no daemon answered."""
    _ask(handle, "UpdateStatus", jobsv1_pb2.UpdateStatusRequest())
    answer = _ask(handle, "GetJobStatus", jobsv1_pb2.GetJobStatusRequest(job_ids=[job_id]))
    state = None if answer is None else answer.job_statuses.get(job_id)
    return None if state is None else job_lib.JobStatus.from_protobuf(state)


@contextlib.contextmanager
def sending_inline() -> Iterator[None]:
    """Let the call that queues a job bring its program along. The folder of programs must be private for that."""
    with _set(_is_inline, True):
        yield


def _ask(handle: Any, name: str, question: Any) -> Any:
    connection = _connection(handle)
    if connection is None:
        return None
    try:
        return getattr(jobsv1_pb2_grpc.JobsServiceStub(connection.channel), name)(question, timeout=ASK_SECONDS)
    except grpc.RpcError:
        return None


def close() -> None:
    """End all connections."""
    with _opening:
        for connection in filter(None, _connections.values()):
            connection.close()
        _connections.clear()


def _through(original: Callable[..., Any], *, is_once: bool) -> Callable[..., Any]:
    def method(backend: Any, handle: Any, *arguments: Any, **options: Any) -> Any:
        with _set(_is_called, True), _set(_is_once, is_once):
            try:
                return original(backend, handle, *arguments, **options)
            except _FAILURES as error:
                if is_once and not _is_unknown(error):
                    if _is_taken(backend, handle, arguments[1]):
                        return None
                    raise RuntimeError(f"The machine did not confirm that it has the job: {_reason(error)}") from error
        return original(backend, handle, *arguments, **options)

    return method


def _is_taken(backend: Any, handle: Any, job_id: int) -> bool:
    """Return whether the machine shows the job as queued or later. A job that was only added is in the state INIT."""
    for _ in TAKEN.ticks():
        with contextlib.suppress(Exception):  # a machine that does not answer leaves the doubt
            status = backend.get_job_status(handle, [job_id]).get(job_id)
            if status is not None and status is not job_lib.JobStatus.INIT:
                return True
    return False


def _is_unknown(error: Exception) -> bool:
    """Return whether the daemon, of another version, does not have this call, so that it did nothing."""
    if isinstance(error, grpc.RpcError):
        return bool(error.code() is grpc.StatusCode.UNIMPLEMENTED)
    return isinstance(error, exceptions.SkyletMethodNotImplementedError)


def _reason(error: Exception) -> str:
    """Return the cause in one line. The text of an error of gRPC has many."""
    text = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.RpcError) else str(error)
    return " ".join(text.split())[:300]


@contextlib.contextmanager
def _set(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _channel(handle: Any) -> grpc.Channel:
    connection = _connection(handle)
    if connection is None:
        raise exceptions.SkyletUnavailableError("The daemon on the machine does not answer.")
    return connection.channel


def _connection(handle: Any) -> _Connection | None:
    """Return a connection to the daemon, or None where there is no ssh or no answer."""
    runner = handle.get_command_runners()[0]
    if not isinstance(runner, command_runner.SSHCommandRunner):
        return None
    address = f"{handle.cluster_name} {runner.ip}:{runner.port}"  # a container's address is the same on each machine
    _address.set(address)
    with _opening:
        connection = _connections.get(address)
        if connection is None and address in _connections:
            return None
        if connection is not None and connection.is_alive:
            return connection
        if connection is not None:
            connection.close()
        connection = _Connection(runner, private_channels.private_folder() / f"skylet-{next(_numbers)}")
        _connections[address] = connection if connection.is_ready() else None
        if _connections[address] is None:
            connection.close()
        return _connections[address]


def _leave(address: str) -> None:
    """Call a head whose daemon ended SkyPilot's first way from now on."""
    with _opening:
        connection = _connections.get(address)
        if connection is not None:
            connection.close()
            _connections[address] = None
