"""A machine of another computer, entered from an empty home folder: the cloud's answer and the secret are enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.engine import entry_key
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import CLUSTER_TAG, LABEL_LEASE, LABEL_REUSER
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.reuse import ReusePlan
from cvl_ci.model.secret import Secret
from cvl_ci.ports import LaunchRequest
from cvl_ci.sandbox import Sandbox
from cvl_ci.wiring import OpenClouds
from tests.e2e.cloud import EAST, Cloud, environment

LEASE, USER = "cvl-7-0badcafe", "0a1b2c3d"
SECRET = Secret("a secret of the repository, 32 characters")


@pytest.fixture
def cloud(sandbox: tuple[Sandbox, Path], tmp_path: Path) -> Iterator[Cloud]:
    """The sandbox of all tests. The key of a machine follows from the secret, as at a launch."""
    made, directory = sandbox
    key = entry_key.derive(SECRET, user_id=USER, lease=LEASE)
    file = tmp_path / "key"
    file.write_text(key.private.reveal())
    file.chmod(0o600)
    file.with_suffix(".pub").write_text(key.public)
    one = Cloud(sandbox=made, directory=directory, access=made.up(), key=file)
    yield one
    one.clear()


def request(secret: Secret, folder: Path, *, nodes: int = 1) -> LaunchRequest:
    reuse = ReusePlan(key="trainer", secret=secret)
    return LaunchRequest(
        plan=RunPlan(
            title="train",
            work=WorkPlan(run_commands=("true",)),
            machines=MachinePlan(locations=(Location(cloud=SANDBOX),), reuse=reuse, num_nodes=nodes),
        ),
        cluster=LEASE,
        labels={LABEL_LEASE: LEASE, LABEL_REUSER: USER},
        staged=folder,
        deadline=0.0,
        fence=folder / "fence",
    )


@pytest.mark.minutes(1)
def test_one_enters_by_the_cloud_s_answer_and_the_secret_and_another_secret_does_not(
    cloud: Cloud, tmp_path: Path
) -> None:
    tags = {
        LABEL_LEASE: LEASE,
        CLUSTER_TAG: f"{LEASE}-{USER}",
        "ray-cluster-name": f"{LEASE}-{USER}",
        "ray-node-type": "head",
        "skypilot-head-node": "1",
    }
    specification = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": text} for key, text in tags.items()]}
    machine = cloud.launch(TagSpecifications=[specification])
    cloud.ssh(machine, "mkdir .cvl-ci-birth && printf idle-1 > .cvl-ci-birth/use", patience=300)

    def opened(name: str) -> OpenClouds:
        (tmp_path / name).mkdir()
        return OpenClouds({**environment(), "HOME": str(tmp_path / name), "CVL_CI_SANDBOX_DIR": str(cloud.directory)})

    places = (Location(cloud=SANDBOX),)
    with opened("own").open(places, user_id=USER, watch=lambda _: None) as own:
        shared = own.shared
        assert shared is not None
        with pytest.raises(EngineError):
            shared.adopt(request(SECRET, tmp_path, nodes=2), region=EAST)
        shared.adopt(request(SECRET, tmp_path), region=EAST)
        assert not shared.change_use(LEASE, before="idle-2", after="busy-3-a")
        assert shared.change_use(LEASE, before="idle-1", after="busy-2-a")
        assert shared.change_use(LEASE, before="idle-1", after="busy-2-a"), "the first answer may have been lost"
        assert not shared.change_use(LEASE, before="idle-1", after="busy-2-b")
        assert cloud.ssh(machine, "cat .cvl-ci-birth/use") == "busy-2-a"
    with opened("other").open(places, user_id=USER, watch=lambda _: None) as other:
        assert other.shared is not None
        wrong = request(Secret("another secret of the repository, 1"), tmp_path)
        other.shared.adopt(wrong, region=EAST)
        with pytest.raises(EngineError):
            other.shared.change_use(LEASE, before="busy-2-a", after="busy-3-b")
    cloud.ec2().terminate_instances(InstanceIds=[machine])
    with opened("late").open(places, user_id=USER, watch=lambda _: None) as late:
        assert late.shared is not None
        with pytest.raises(EngineError):
            late.shared.adopt(request(SECRET, tmp_path), region=EAST)
