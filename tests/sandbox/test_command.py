"""The words of `cvl-ci sandbox`, as far as they need no Docker: what is asked for, and what a person reads."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import Faults, Instance, Status, Throttle, command
from tests import golden

MESSAGES = golden.Messages(__name__)

STATUS = Status(
    up=True,
    id="0badcafe",
    directory="/somewhere/sandbox",
    endpoint_url="http://10.9.0.1:4711",
    image="cvl-ci-sandbox:0123456789ab",
    image_bytes=1_390_000_000,
    faults=Faults(no_capacity=("us-east-1a",)),
    instances=(
        Instance(
            id="i-1", region="us-east-1", zone="us-east-1b", state="running", instance_type="g4dn.xlarge", spot=True,
            address="10.9.0.4", launched_at="2030-01-01T00:00:00Z", tags={"Name": "sky-train-head"},
        ),
        Instance(
            id="i-2", region="us-west-2", zone="us-west-2a", state="terminated", instance_type="m6i.large", spot=False,
            address=None, launched_at="2030-01-01T00:00:00Z",
        ),
    ),
)  # fmt: skip


def typed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def says(*words: str, environment: dict[str, str]) -> str:
    out = io.StringIO()
    assert command.run(words, environment=environment, machine_types=(), out=out) == 0
    return out.getvalue()


def test_the_status_is_a_line_a_machine() -> None:
    MESSAGES.check("up", command.describe(STATUS))


def test_a_sandbox_that_is_down_says_what_was_left_over() -> None:
    down = Status(up=False, id="0badcafe", directory="/d", leftovers=("cvl-ci-0badcafe-i-1",))
    MESSAGES.check("down", command.describe(down))


def test_the_status_for_programs_has_states_and_tags() -> None:
    document = json.loads(json.dumps(STATUS.to_json()))
    assert document["up"] is True
    assert document["instances"][0]["state"] == "running"
    assert document["instances"][0]["tags"] == {"Name": "sky-train-head"}
    assert document["faults"]["no_capacity"] == ["us-east-1a"]


def test_options_set_their_own_fault_and_leave_the_others() -> None:
    before = Faults(slow_boot_seconds=9, no_capacity=("us-west-2",))
    parsed = typed("faults", "--no-capacity", "us-east-1a", "us-east-1b", "--throttle", "RunInstances=0.5@us-east-1")
    assert command.changed(before, parsed) == Faults(
        slow_boot_seconds=9,
        no_capacity=("us-east-1a", "us-east-1b"),
        throttle=(Throttle(action="RunInstances", probability=0.5, region="us-east-1"),),
    )


def test_every_fault_has_an_option() -> None:
    parsed = typed(
        "faults", "--no-capacity", "a", "--no-spot-capacity", "b", "--throttle", "*", "--api-down", "closed",
        "--slow-boot-seconds", "1", "--never-ssh", "c", "--lost-answers", "RunInstances", "--terminate-fails", "d",
        "--expired-keys", "AKIA0", "--broken-gpus", "e", "--buckets", "cut:models:get:3",
    )  # fmt: skip
    assert all(command.changed(Faults(), parsed).to_json().values())


def test_faults_are_set_shown_and_cleared_even_before_it_is_up(tmp_path: Path) -> None:
    place = {"CVL_CI_SANDBOX_DIR": str(tmp_path)}
    assert says("faults", environment=place) == "no faults\n"
    assert json.loads(says("faults", "--api-down", "503", environment=place)) == {"api_down": "503"}
    assert json.loads(says("faults", environment=place)) == {"api_down": "503"}
    assert says("faults", "--clear", environment=place) == "no faults\n"


def test_a_fault_that_is_none_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="more than 1") as error:
        says("faults", "--throttle", "RunInstances=2", environment={"CVL_CI_SANDBOX_DIR": str(tmp_path)})
    assert "faults --help" in error.value.next_step


@pytest.mark.parametrize("words", [("env",), ("interrupt", "i-1"), ("kill", "i-1")])
def test_what_needs_a_sandbox_says_how_to_bring_one_up(tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SandboxError, match="not up") as error:
        says(*words, environment={"CVL_CI_SANDBOX_DIR": str(tmp_path)})
    assert error.value.next_step == "Start it first: cvl-ci sandbox up"


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"CVL_CI_SANDBOX_DIR": "/given"}, "/given"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/state/cvl-ci/sandbox"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/cvl-ci/sandbox"),
    ],
)
def test_its_directory_is_where_state_belongs(environment: dict[str, str], directory: str) -> None:
    assert command.default_directory(environment) == Path(directory)


def test_importing_the_room_loads_nothing_heavy() -> None:
    program = (
        "import sys; before = set(sys.modules); import cvl_ci.sandbox.command;"
        "print(*({'moto', 'docker', 'boto3', 'botocore', 'sky', 'flask', 'requests', 'yaml'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
