"""A machine that is gone while the others work is missed: by two looks in a row, and never by a provider's silence."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from cvl_ci.engine.worker import node_watch
from cvl_ci.engine.worker.node_watch import Roll
from tests.support import sky_process


def lost_nodes(*shown: int | Exception, checks: int = node_watch.MISSING_CHECKS) -> list[int]:
    """What is said of a cluster of two of which the provider shows so many, look for look; then it is over."""
    answers: Iterator[int | Exception] = iter(shown)
    said: list[int] = []

    def count_nodes() -> int:
        found = next(answers, None)
        if found is None:
            roll.stop()
            return 2
        if isinstance(found, Exception):
            raise found
        return found

    roll = Roll(count_nodes, nodes=2, lost=said.append, interval_seconds=0.001, missing_checks=checks)
    roll.start()
    roll.join(60)
    assert not roll.is_alive()
    return said


def test_one_that_is_gone_is_told_once() -> None:
    assert lost_nodes(2, 2, 1, 1, 1, 1) == [1]


def test_a_listing_that_is_a_moment_behind_is_no_loss() -> None:
    assert lost_nodes(2, 1, 2, 1, 2) == []


def test_new_machines_may_be_listed_later_still() -> None:
    assert lost_nodes(0, 0, 2, 0, 0, 2, checks=3) == []
    assert lost_nodes(2, 0, 0, 1, 0, checks=3) == [1]


def test_the_question_that_would_end_tpu_vms_is_not_asked() -> None:
    program = """
import sky
from types import SimpleNamespace
from cvl_ci.engine.worker import sky_local
asked = []
sky_local.provision.query_instances = lambda *arguments: asked.append(arguments) or {}
sky_local.global_user_state.get_cluster_yaml_dict = lambda _: {"provider": {}}
for accelerator in ("tpu-v4-8", "A100"):
    machine = sky.Resources(infra="gcp", accelerators=accelerator)
    handle = SimpleNamespace(
        launched_resources=machine, launched_nodes=2, cluster_yaml="", cluster_name_on_cloud="c"
    )
    sky_local.handle_of = lambda _: handle
    print(sky_local.count_machines(None, cluster="c"), len(asked))
"""
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(program, env=env, loaded=True)
    assert done.stdout.split("\n")[-3:] == ["2 0", "0 1", ""], done.stderr


def test_a_provider_that_does_not_answer_says_nothing_of_machines() -> None:
    assert lost_nodes(2, OSError("throttled"), OSError("throttled"), OSError("throttled"), 2) == []


def test_a_question_that_hangs_does_not_end_the_watch() -> None:
    hangs, said, asked = threading.Event(), list[int](), list[int]()

    def count_nodes() -> int:
        asked.append(1)
        if len(asked) == 1:
            hangs.wait()
        return 1

    roll = Roll(count_nodes, nodes=2, lost=said.append, interval_seconds=0.001, answer_seconds=0.5)
    roll.start()
    roll.join(60)
    hangs.set()
    assert not roll.is_alive() and said == [1]


def test_a_single_machine_is_asked_for_too_and_its_watch_ends_with_the_stream() -> None:
    gone = threading.Event()
    with node_watch.watched(lambda: 0, nodes=1, lost=lambda _: gone.set(), interval_seconds=0.001):
        assert gone.wait(60)
    for thread in threading.enumerate():
        if thread.name == "roll":
            thread.join(60)
            assert not thread.is_alive()
