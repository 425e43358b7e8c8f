"""A sandbox that is not up is opened to end its remains, and never started for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.sandbox import Sandbox, usage_lock
from tests.sandbox.docker_stand_in import docker_that

SCRIPT = """echo "$@" >> {folder}/said
case "$*" in
"ps --all --format {{{{.Names}}}} --filter label=cvl-ci-sandbox="*) echo emulator;;
"ps --all --format {{{{.Names}}}} --filter label=cvl-ci-sandbox-name") echo theirs; echo another;;
"ps --all --format {{{{.Names}}}} "*"--filter label=cvl-ci-sandbox-name")
  echo "theirs cvl-1-2-0123abcd-head"; echo "another cvl-1-23-0123abcd-head"; echo nameless;;
esac"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    docker_that(tmp_path, SCRIPT.format(folder=tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    return Sandbox(tmp_path / "s", machine_types=(), environment=environment, progress=print)


def docker_commands(tmp_path: Path) -> list[str]:
    return (tmp_path / "said").read_text().splitlines()


def test_what_remains_is_all_of_its_own_and_the_leases_machines_of_any_other(sandbox: Sandbox) -> None:
    assert sandbox.list_leftovers("cvl-1-2") == ("emulator", "theirs")
    assert sandbox.list_leftovers(None) == ("emulator",)


def test_only_what_was_found_and_is_still_there_is_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.remove_leftovers(["emulator", "theirs", "a-network"])
    assert [line for line in docker_commands(tmp_path) if line.startswith("rm ")][-1] == "rm --force --volumes theirs"


def test_it_is_not_brought_up_to_look_for_what_was_left(sandbox: Sandbox, tmp_path: Path) -> None:
    with sandbox.in_use_for_removal() as access:
        assert access is None
    assert not [line for line in docker_commands(tmp_path) if line.startswith(("run", "network create", "stop"))]


def test_what_a_run_had_brought_up_and_left_is_taken_down_first(sandbox: Sandbox, tmp_path: Path) -> None:
    with usage_lock.use(tmp_path / "s") as killed:
        killed.mark_started_by_run()
    with sandbox.in_use_for_removal() as access:
        assert access is None
        assert [line for line in docker_commands(tmp_path) if line.startswith("network ls")]
    assert not usage_lock.is_started_by_run(tmp_path / "s")
