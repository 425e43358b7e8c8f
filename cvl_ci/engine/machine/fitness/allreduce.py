"""Add numbers across the nodes with NCCL, where its library is there: ctypes alone, no framework.

Each node takes part with its first GPU. The first node gives the others NCCL's id of the group by a connection of their
own. main.py runs this as a process: a call into NCCL that waits for a lost node never comes back. Calls and codes after
NVIDIA's NCCL documentation, "API" (ncclGetUniqueId, ncclCommInitRank, ncclAllReduce).
"""

from __future__ import annotations

import array
import ctypes
import glob
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import cuda

PORT = 29417
JOIN_SECONDS = 5.0
"""The nodes boot together, and their probes begin some seconds apart at most."""
BYTES, ROUNDS, WARM_ROUNDS = 64 << 20, 5, 1
ID_BYTES = 128
"""NCCL_UNIQUE_ID_BYTES of nccl.h."""
FLOAT, SUM = 7, 0
"""ncclFloat32 and ncclSum of nccl.h."""
CODES = {
    1: "CUDA failed", 2: "the system failed", 3: "NCCL failed", 4: "a wrong argument", 5: "a wrong use",
    6: "another node failed",
}  # fmt: skip
"""ncclResult_t of nccl.h."""
_HELLO = b"cvl-ci-nccl-1 "
_PLACES = (
    "lib/python3*/site-packages/nvidia/nccl/lib/libnccl.so.2",
    "lib/python3*/dist-packages/nvidia/nccl/lib/libnccl.so.2",
)
"""The wheels of PyTorch and JAX bring the library along, below a Python's own folder."""


class NcclError(Exception):
    """A call that NCCL refused. `code`: its number."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} failed with code {code}, {CODES.get(code, 'unknown')}")
        self.code = code


class NodeAbsent(Exception):
    """Not all nodes came to the group in time."""


class UniqueId(ctypes.Structure):
    """The name of a group of nodes, which NCCL takes by value."""

    _fields_ = (("internal", ctypes.c_byte * ID_BYTES),)


class Group(NamedTuple):
    """This node's part. `head`: the address of the first node."""

    rank: int
    nodes: int
    head: str
    port: int = PORT


def library() -> Any:
    """Return the library of NCCL. Raise OSError without one."""
    try:
        return ctypes.CDLL("libnccl.so.2")
    except OSError:
        paths = [path for place in _PLACES for path in glob.glob(os.path.join(sys.prefix, place))]
        if not paths:
            raise
        return ctypes.CDLL(paths[0])


def measure(group: Group, *, nccl: Any = None, driver: Any = None) -> dict[str, Any]:
    """Return `gbs`, the rate of each node's network by NCCL's own rule, and whether each sum was right.

    `nccl`, `driver`: other libraries. Raise NcclError, cuda.DriverError, NodeAbsent, and OSError without a library.
    """
    call = _caller(library() if nccl is None else nccl)
    gpu = cuda.Driver(driver)
    gpu.init()
    name = agree(group, make=lambda: _unique_id(call))
    device, context = ctypes.c_int(), ctypes.c_void_p()
    gpu("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
    gpu("cuCtxCreate_v2", ctypes.byref(context), ctypes.c_uint(0), device)
    memory, size = ctypes.c_uint64(), ctypes.c_size_t(BYTES)
    gpu("cuMemAlloc_v2", ctypes.byref(memory), size)
    own = array.array("f", [float(group.rank + 1)]) * (BYTES // 4)
    communicator = ctypes.c_void_p()
    call("ncclCommInitRank", ctypes.byref(communicator), ctypes.c_int(group.nodes), name, ctypes.c_int(group.rank))
    seconds = 0.0
    is_right = True
    for number in range(WARM_ROUNDS + ROUNDS):
        gpu("cuMemcpyHtoD_v2", memory, ctypes.c_void_p(own.buffer_info()[0]), size)
        gpu("cuCtxSynchronize")
        start = time.monotonic()
        address = ctypes.c_void_p(memory.value)
        count = ctypes.c_size_t(BYTES // 4)
        call("ncclAllReduce", address, address, count, ctypes.c_int(FLOAT), ctypes.c_int(SUM), communicator, None)
        gpu("cuCtxSynchronize")
        seconds += time.monotonic() - start if number >= WARM_ROUNDS else 0.0
        is_right = is_right and _has_sums(gpu, memory, size, total=group.nodes * (group.nodes + 1) / 2)
    call("ncclCommDestroy", communicator)
    # Each byte goes out of a node 2 (n - 1) / n times: nccl-tests, PERFORMANCE.md, "Bus bandwidth".
    share = 2 * (group.nodes - 1) / group.nodes
    return {"gbs": round(share * ROUNDS * BYTES / 1e9 / max(seconds, 1e-9), 2), "is_right": is_right}


def agree(group: Group, *, make: Callable[[], UniqueId], clock: Callable[[], float] = time.monotonic) -> UniqueId:
    """Return the name of the group, the same on all nodes. Raise NodeAbsent if a node does not come in time."""
    end = clock() + JOIN_SECONDS
    if group.rank == 0:
        name = make()
        _give(group, bytes(name), end=end, clock=clock)
        return name
    return UniqueId.from_buffer_copy(_receive(group, end=end, clock=clock))


def _give(group: Group, name: bytes, *, end: float, clock: Callable[[], float]) -> None:
    """Give the name to each other node. A node that asks again gets it again."""
    missing = set(range(1, group.nodes))
    with socket.create_server(("", group.port)) as server:
        while missing:
            server.settimeout(max(0.01, end - clock()))
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(max(0.01, min(1.0, end - clock())))
                    words = connection.recv(64)
                    rank = words[len(_HELLO) :].strip()
                    if words.startswith(_HELLO) and rank.isdigit():
                        connection.sendall(name)
                        missing.discard(int(rank))
            except OSError as error:
                if clock() >= end:
                    nodes = ", ".join(map(str, sorted(missing)))
                    raise NodeAbsent(f"node {nodes} did not come within {JOIN_SECONDS:.0f} s") from error


def _receive(group: Group, *, end: float, clock: Callable[[], float]) -> bytes:
    while clock() < end:
        try:
            with socket.create_connection((group.head, group.port), timeout=max(0.01, end - clock())) as connection:
                connection.sendall(_HELLO + str(group.rank).encode())
                name = b""
                while len(name) < ID_BYTES and (piece := connection.recv(ID_BYTES - len(name))):
                    name += piece
            if len(name) == ID_BYTES:
                return name
        except OSError:
            pass
        time.sleep(0.1)
    raise NodeAbsent(f"the first node did not answer within {JOIN_SECONDS:.0f} s")


def _unique_id(call: Callable[..., None]) -> UniqueId:
    name = UniqueId()
    call("ncclGetUniqueId", ctypes.byref(name))
    return name


def _caller(nccl: Any) -> Callable[..., None]:
    def call(name: str, *arguments: Any) -> None:
        code = int(getattr(nccl, name)(*arguments))
        if code:
            raise NcclError(name, code)

    return call


def _has_sums(gpu: cuda.Driver, memory: Any, size: Any, *, total: float) -> bool:
    content = (ctypes.c_char * BYTES)()
    gpu("cuMemcpyDtoH_v2", ctypes.byref(content), memory, size)
    return bytes(content) == (array.array("f", [total]) * (BYTES // 4)).tobytes()


def group_of(words: Sequence[str]) -> Group | None:
    """Return this node's part from its rank and the addresses of all nodes. None: it is alone."""
    rank, addresses = (words[0], words[1].split()) if len(words) == 2 else ("", [])
    if len(addresses) < 2 or not rank.isdecimal() or int(rank) >= len(addresses):
        return None
    return Group(rank=int(rank), nodes=len(addresses), head=addresses[0])
