"""The end of the set-up on a machine is tried again after a broken connection, and a last failure is an error."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.sky

BROKEN = {"code": 255, "out": "", "err": "Connection reset by peer"}
DONE = {"code": 0, "out": "", "err": ""}


@pytest.fixture
def end_set_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[float]]]:
    """Return a call that takes the answers of each try, and returns the tries and the pauses."""
    hosts: Any = importlib.import_module("cvl_ci.engine.worker.cluster_hosts")  # it loads SkyPilot, for seconds

    def ended(*answers: Sequence[dict[str, Any]], cloud: object = None) -> tuple[int, list[float]]:
        coming, slept, tries = iter(answers), list[float](), list[int]()

        def ask(*_: object) -> Sequence[dict[str, Any]]:
            tries.append(len(tries))
            return next(coming)

        machine = SimpleNamespace(
            launched_resources=SimpleNamespace(cloud=cloud or hosts.clouds.AWS()),
            docker_user=None,
            get_command_runners=lambda: [object()],
        )
        monkeypatch.setattr(hosts, "handle_of", lambda _: machine)
        monkeypatch.setattr(hosts.node_commands, "ask", ask)
        monkeypatch.setattr(hosts, "SET_UP", replace(hosts.SET_UP, sleep=slept.append))
        hosts.end_set_up("c")
        return len(tries), slept

    return ended


def test_a_machine_that_answers_is_asked_once(end_set_up: Callable[..., tuple[int, list[float]]]) -> None:
    assert end_set_up([DONE, DONE]) == (1, [])


def test_a_broken_connection_is_tried_twice_again(end_set_up: Callable[..., tuple[int, list[float]]]) -> None:
    assert end_set_up([DONE, BROKEN], [BROKEN, DONE], [DONE, DONE]) == (3, [1.0, 5.0])
    with pytest.raises(RuntimeError, match=r"Node 1 could not .*: Connection reset"):
        end_set_up(*[[DONE, BROKEN]] * 3)


def test_only_machines_of_aws_have_this_timer(end_set_up: Callable[..., tuple[int, list[float]]]) -> None:
    assert end_set_up(cloud=object()) == (0, [])
