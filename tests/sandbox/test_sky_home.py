"""The home a client is given: what SkyPilot reads of it, and that nothing in it opens anything."""

from __future__ import annotations

import ast
import csv
import stat
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import MachineType, keys, sky_home
from cvl_ci.sandbox.docker.networks import Network
from cvl_ci.sandbox.sandbox_spec import SandboxSpec

PLAIN = MachineType(
    name="m6i.large", vcpus=2, memory_gib=8, accelerator=None, accelerator_count=0, accelerator_memory_gib=0,
    hourly_usd=0.096, spot_hourly_usd=0.0352, region="us-east-1",
)  # fmt: skip
GPUS = MachineType(
    name="g5.12xlarge", vcpus=48, memory_gib=192, accelerator="A10G", accelerator_count=4, accelerator_memory_gib=24,
    hourly_usd=5.672, spot_hourly_usd=None, region="us-west-2",
)  # fmt: skip
ZONES = {
    "us-east-1": [(f"us-east-1{letter}", f"use1-az{number}") for number, letter in enumerate("abcdef")],
    "us-west-2": [("us-west-2a", "usw2-az2")],
}


@pytest.fixture
def plan(tmp_path: Path) -> SandboxSpec:
    keys.create(tmp_path)
    nets = tuple(
        Network(region=region, name=region, cidr=f"10.9.{16 * number}.0/20", gateway=f"10.9.{16 * number}.1")
        for number, region in enumerate(("us-east-1", "us-west-2"))
    )
    return SandboxSpec(
        id="0badcafe", image="i", networks=nets, port=4711, metadata_port=4712, skypilot_port=4713,
        machine_types=(PLAIN, GPUS),
    )  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_endpoint_lies_with_the_keys_which_travel_to_the_machines(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    credentials = access.home / ".aws/credentials"
    assert credentials.read_text().splitlines() == [
        "[default]",
        f"aws_access_key_id = {access.access_key_id}",
        f"aws_secret_access_key = {access.secret_access_key}",
        "endpoint_url = http://10.9.0.1:4711",
    ]
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600


def test_the_environment_names_a_home_and_no_keys(tmp_path: Path, plan: SandboxSpec) -> None:
    assert sky_home.access(tmp_path, plan).environment == {
        "HOME": str(tmp_path / "home"),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        "SKYPILOT_API_SERVER_LOCAL_PORT": "4713",
    }


def test_skypilot_is_told_to_look_at_aws_alone(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    assert (access.home / ".sky/config.yaml").read_text() == "allowed_clouds: [aws]\n"


def test_every_machine_type_is_sold_in_three_zones_at_most(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    rows = read(access.home / ".sky/catalogs/v8/aws/vms.csv")
    assert [(row["InstanceType"], row["AvailabilityZone"]) for row in rows] == [
        ("m6i.large", "use1-az0"),
        ("m6i.large", "use1-az1"),
        ("m6i.large", "use1-az2"),
        ("g5.12xlarge", "usw2-az2"),
    ]
    plain, *_, gpus = rows
    assert (plain["Price"], plain["SpotPrice"], plain["AcceleratorName"], plain["GpuInfo"]) == (
        "0.096",
        "0.0352",
        "",
        "",
    )
    assert (gpus["AcceleratorName"], gpus["AcceleratorCount"], gpus["SpotPrice"]) == ("A10G", "4.0", "")
    assert ast.literal_eval(gpus["GpuInfo"])["TotalGpuMemoryInMiB"] == 4 * 24 * 1024


def test_no_checksum_lies_beside_the_price_list_or_skypilot_would_refresh_it(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    assert {path.name for path in (access.home / ".sky/catalogs/v8").iterdir()} == {"aws", "common"}


def test_every_image_skypilot_asks_for_by_name_is_in_every_region(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    images = read(access.home / ".sky/catalogs/v8/aws/images.csv")
    for region in plan.regions:
        tags = {row["Tag"] for row in images if row["Region"] == region}
        assert {"skypilot:custom-cpu-ubuntu", "skypilot:custom-gpu-ubuntu-cuda13", "skypilot:custom-gpu-ubuntu"} <= tags


def test_forgetting_leaves_what_is_not_skypilots(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    (access.home / "notes").write_text("mine")
    sky_home.forget_skypilot(access.home)
    assert [path.name for path in access.home.iterdir()] == ["notes"]


def test_forgetting_leaves_the_wheel_that_skypilot_built_of_itself(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    wheel = access.home / sky_home.WHEELS / "0a1b" / "skypilot-0.14.1-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.write_text("zip")
    (access.home / ".sky/state.db").write_text("machines")
    (access.home / ".sky/generated").symlink_to(tmp_path)
    sky_home.forget_skypilot(access.home)
    assert [path.name for path in (access.home / ".sky").iterdir()] == ["wheels"]
    assert wheel.read_text() == "zip"
    assert tmp_path.exists(), "a link is not followed"


def test_two_sandboxes_have_different_keys(tmp_path: Path, plan: SandboxSpec) -> None:
    (tmp_path / "other").mkdir()
    keys.create(tmp_path / "other")
    assert sky_home.access(tmp_path, plan).access_key_id != sky_home.access(tmp_path / "other", plan).access_key_id
    assert len(sky_home.access(tmp_path, plan).access_key_id) == 20


def test_keys_are_their_owners_alone_and_are_not_shown(tmp_path: Path, plan: SandboxSpec) -> None:
    access = sky_home.access(tmp_path, plan)
    sky_home.write(access, plan.machine_types, ZONES)
    assert (tmp_path / keys.FOLDER).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / keys.FOLDER / keys.FILE).stat().st_mode & 0o777 == 0o600
    assert (access.home / ".aws/credentials").stat().st_mode & 0o777 == 0o600
    known = keys.load(tmp_path)
    assert known is not None
    assert access.secret_access_key not in f"{access!r}{known!r}"
    assert known.control not in repr(known)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_keys_that_others_may_read_or_replace_are_no_keys(tmp_path: Path, plan: SandboxSpec, mode: int) -> None:
    (tmp_path / keys.FOLDER).chmod(mode)
    assert keys.load(tmp_path) is None
    with pytest.raises(SandboxError, match="keys"):
        sky_home.access(tmp_path, plan)
