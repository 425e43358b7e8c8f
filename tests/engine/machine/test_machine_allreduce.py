"""The all-reduce of several nodes: NCCL and the driver as objects, whose nodes are threads with real connections."""

from __future__ import annotations

import array
import ctypes
import json
import socket
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from cvl_ci.engine.machine.fitness import allreduce, cuda, main
from cvl_ci.engine.machine.fitness.allreduce import Group, NcclError, NodeAbsent, UniqueId
from cvl_ci.engine.machine.fitness.findings import Findings
from tests import golden
from tests.engine.machine.test_machine_fitness import Library

MESSAGES = golden.Messages(__name__)


class Nccl:
    """The calls of libnccl.so.2 for the nodes of one process. `codes`: answers other than 0."""

    def __init__(self, nodes: int, *, codes: Mapping[str, int] | None = None, is_wrong: bool = False) -> None:
        self.codes, self.is_wrong, self.calls = codes or {}, is_wrong, list[str]()
        self.barrier = threading.Barrier(nodes)
        self.given: dict[int, array.array[float]] = {}
        self.names: set[bytes] = set()
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            with self.lock:
                self.calls.append(name)
            if code := self.codes.get(name):
                return code
            getattr(self, f"_{name.removeprefix('nccl').lower()}")(*arguments)
            return 0

        return call

    def _getuniqueid(self, into: Any) -> None:
        ctypes.memmove(into, bytes(range(128)), 128)

    def _comminitrank(self, into: Any, nodes: Any, name: Any, rank: Any) -> None:
        assert nodes.value == self.barrier.parties
        with self.lock:
            self.names.add(bytes(name))
        into._obj.value = rank.value + 1
        self.barrier.wait(10)

    def _allreduce(self, *arguments: Any) -> None:
        source, into, count, kind, how, communicator, stream = arguments
        assert (kind.value, how.value, stream) == (7, 0, None), "ncclFloat32, ncclSum, the default stream"
        numbers: array.array[float] = array.array("f")
        numbers.frombytes(ctypes.string_at(source.value, 4 * count.value))
        self.given[communicator.value] = numbers
        self.barrier.wait(10)
        total = sum(one[0] for one in self.given.values()) + (1 if self.is_wrong else 0)
        self.barrier.wait(10)
        ctypes.memmove(into.value, (array.array("f", [total]) * count.value).tobytes(), 4 * count.value)

    def _commdestroy(self, communicator: Any) -> None:
        assert communicator.value


class Driver(Library):
    """The driver, which gets each address as one: ctypes would cut an int of Python to 32 bits."""

    def _memcpyhtod(self, to: Any, source: Any, size: Any) -> None:
        assert isinstance(source, ctypes.c_void_p)
        super()._memcpyhtod(to, source, size)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allreduce, "BYTES", 1 << 12)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
    return number


def together(nccl: Nccl, port: int, *, nodes: int, absent: int = 0) -> list[Any]:
    """Return what each node's part returned or raised. `absent`: nodes of the group that never come."""
    answers: list[Any] = [None] * (nodes - absent)

    def work(rank: int) -> None:
        group = Group(rank=rank, nodes=nodes, head="127.0.0.1", port=port)
        try:
            answers[rank] = allreduce.measure(group, nccl=nccl, driver=Driver())
        except Exception as error:  # noqa: BLE001  it is the answer
            answers[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(nodes - absent)]
    for thread in reversed(threads):  # the first node comes last
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


@pytest.mark.parametrize("nodes", [2, 3])
def test_the_nodes_agree_on_one_group_and_each_sum_is_checked(port: int, nodes: int) -> None:
    nccl = Nccl(nodes)
    answers = together(nccl, port, nodes=nodes)
    assert all(answer["is_right"] and answer["gbs"] >= 0 for answer in answers), answers
    assert nccl.names == {bytes(range(128))}
    assert nccl.calls.count("ncclAllReduce") == nodes * (allreduce.ROUNDS + allreduce.WARM_ROUNDS)
    assert (nccl.calls.count("ncclGetUniqueId"), nccl.calls.count("ncclCommDestroy")) == (1, nodes)


def test_wrong_sums_are_seen(port: int) -> None:
    answers = together(Nccl(2, is_wrong=True), port, nodes=2)
    assert [answer["is_right"] for answer in answers] == [False, False]


def test_a_call_that_nccl_refuses_is_named_with_its_meaning(port: int) -> None:
    answers = together(Nccl(2, codes={"ncclCommInitRank": 2}), port, nodes=2)
    MESSAGES.check("refused by NCCL", [str(answer) for answer in answers])
    assert all(isinstance(answer, NcclError) for answer in answers)


def test_a_node_that_does_not_come_is_absent_and_the_others_say_which(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allreduce, "JOIN_SECONDS", 0.5)
    [first, second] = together(Nccl(3), port, nodes=3, absent=1)
    assert isinstance(first, NodeAbsent) and str(first).startswith("node 2 did not come")
    assert second is not None, "it has the name, and NCCL itself waits for the last one: main.py bounds that"


def test_a_stranger_at_the_port_gets_no_name(port: int) -> None:
    names: list[bytes] = []

    def stranger() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            names.append(connection.recv(200))

    given: list[Any] = []
    group = Group(rank=0, nodes=2, head="127.0.0.1", port=port)
    name = UniqueId.from_buffer_copy(bytes(128))
    server = threading.Thread(target=lambda: given.append(allreduce.agree(group, make=lambda: name)))
    server.start()
    for _ in range(100):
        try:
            stranger()
            break
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    taken = allreduce.agree(group._replace(rank=1), make=lambda: name)
    server.join(10)
    assert (names, bytes(taken), len(given)) == ([b""], bytes(128), 1)


@pytest.mark.parametrize(
    ("words", "group"),
    [
        (("1", "10.0.0.1\n10.0.0.2\n"), Group(rank=1, nodes=2, head="10.0.0.1")),
        (("0", "10.0.0.1"), None),
        (("0", ""), None),
        (("2", "10.0.0.1\n10.0.0.2"), None),
        (("x", "10.0.0.1\n10.0.0.2"), None),
        ((), None),
    ],
)
def test_a_node_knows_its_part_by_skypilot_s_words(words: tuple[str, ...], group: Group | None) -> None:
    assert allreduce.group_of(words) == group


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        ({"gbs": 12.5, "is_right": True}, "healthy", ""),
        ({}, "healthy", ""),
        ({"note": "node 1 did not come within 5 s"}, "healthy", "was not measured: node 1 did not come"),
        ({"error": "ncclAllReduce failed with code 6, another node failed"}, "unknown", "another node failed"),
        (None, "unknown", "gave no answer"),
        ({"gbs": 12.5, "is_right": False}, "broken", "wrong sums"),
    ],
)
def test_each_answer_has_its_verdict(answer: dict[str, Any] | None, verdict: str, words: str) -> None:
    found = Findings()
    main.add_allreduce(found, answer)
    assert found.verdict == verdict
    assert (words in " ".join(text for _, text in found.items)) and bool(words) == bool(found.items)
    assert found.host == ({"allreduce_gbs": 12.5} if verdict == "healthy" and answer and "gbs" in answer else {})


def test_without_the_library_nothing_is_measured_and_without_time_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    main.print_allreduce("0", "2", "127.0.0.1")
    assert json.loads(capsys.readouterr().out) == {}
    assert main._allreduce(Group(rank=0, nodes=2, head="127.0.0.1"), seconds=1.0) == {
        "note": "the other steps took all the time"
    }


def test_a_sick_driver_is_an_error_and_no_answer_a_missing_one(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sick(group: Group) -> dict[str, Any]:
        raise cuda.DriverError("cuInit", 999)

    monkeypatch.setattr(allreduce, "measure", sick)
    main.print_allreduce("0", "2", "127.0.0.1")
    assert json.loads(capsys.readouterr().out) == {"error": "cuInit failed with code 999"}
    monkeypatch.setattr(main, "_answer", lambda *_, **__: None)
    assert main._allreduce(Group(rank=0, nodes=2, head="127.0.0.1", port=port), seconds=9.0) is None
