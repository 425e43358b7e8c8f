"""The emulated AWS, asked by boto3: its instances are machines, and what is done to the one is done to the other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.exceptions import ConnectionError as NoConnection

from cvl_ci.sandbox import BucketFault, Faults, Throttle
from tests import golden
from tests.e2e.cloud import EAST, WEST, Cloud, containers, docker, eventually, sandbox_in

MESSAGES = golden.Messages(__name__)

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def one_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("emulator")
    key = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    sandbox = sandbox_in(directory)
    yield Cloud(sandbox=sandbox, directory=directory, access=sandbox.up(), key=key)
    sandbox.down()


@pytest.fixture
def cloud(one_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Empty before and after. boto3 sees no file and no key of the user's."""
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield one_cloud
    one_cloud.sandbox.set_faults(Faults())
    one_cloud.clear()


# ---- instances are machines ------------------------------------------------------------------------------------------


def test_a_launched_instance_is_a_machine_that_its_key_opens(cloud: Cloud) -> None:
    machine = cloud.launch()
    assert cloud.ssh(machine, "whoami; sudo whoami") == "ubuntu\nroot"


def test_a_machine_has_what_a_job_expects_of_one(cloud: Cloud) -> None:
    machine = cloud.launch()
    for program in ("sudo", "rsync", "git", "curl", "python3", "docker"):
        assert cloud.ssh(machine, f"command -v {program}")
    said = cloud.ssh(machine, 'python3 -c "import numpy, sklearn; print(sklearn.__version__)"')
    assert said[0].isdigit()
    assert "nothing wrong" not in cloud.ssh(machine, "id -nG")
    assert "docker" in cloud.ssh(machine, "id -nG").split()


def test_a_machine_copies_from_a_bucket_and_mounts_one(cloud: Cloud) -> None:
    """The programs that SkyPilot runs for a bucket, with its own options. The image leaves out most AWS models."""
    s3, machine = cloud.client("s3", EAST), cloud.launch(IamInstanceProfile={"Name": "skypilot-v1"})
    s3.create_bucket(Bucket="weights")
    s3.put_object(Bucket="weights", Key="tiny/a.bin", Body=b"tensors")
    aws = "AWS_DEFAULT_REGION=us-east-1 ~/skypilot-runtime/bin/aws"
    cloud.ssh(machine, f"{aws} s3 sync --no-follow-symlinks s3://weights/tiny copied && {aws} sts get-caller-identity")
    assert cloud.ssh(machine, "cat copied/a.bin") == "tensors"
    mount = (
        "mkdir -p mounted ~/.config/rclone && printf '[sky-s3-weights]\ntype = s3\nprovider = AWS\nenv_auth = true\n' "
        "> ~/.config/rclone/rclone.conf && rclone mount sky-s3-weights:weights/tiny mounted --daemon --daemon-wait 10 "
        "--allow-other --vfs-cache-mode full --dir-cache-time 10s --vfs-cache-poll-interval 1s --vfs-fast-fingerprint "
        "--vfs-write-back 1s --log-file mount.log --log-level INFO > /dev/null 2>&1 "
        "&& cat mounted/a.bin && echo more > mounted/b.txt"
    )
    assert cloud.ssh(machine, mount) == "tensors"
    written = eventually(lambda: "Contents" in s3.list_objects_v2(Bucket="weights", Prefix="tiny/b.txt"))
    assert written
    assert s3.get_object(Bucket="weights", Key="tiny/b.txt")["Body"].read() == b"more\n"
    cloud.sandbox.set_faults(Faults(buckets=(BucketFault(kind="denied", bucket="weights"),)))
    assert "AccessDenied" in cloud.ssh(machine, f"{aws} s3 ls s3://weights/ 2>&1 || true")


def test_the_address_of_an_instance_is_its_machines(cloud: Cloud) -> None:
    machine = cloud.launch()
    told = cloud.describe(machine)
    assert told["PrivateIpAddress"] == told["PublicIpAddress"]
    assert told["PrivateIpAddress"] in cloud.ssh(machine, "hostname -I").split()


def test_several_machines_of_one_call_reach_each_other(cloud: Cloud) -> None:
    answer = cloud.ec2().run_instances(
        ImageId="ami-05a4dbc0c0ffee001", InstanceType="m6i.large", MinCount=2, MaxCount=2
    )
    assert len({each["PrivateIpAddress"] for each in answer["Instances"]}) == 2
    first = cloud.launch()
    other = answer["Instances"][0]["PrivateIpAddress"]
    greeted = f"timeout 5 bash -c 'until head -c 3 < /dev/tcp/{other}/22; do sleep 0.2; done' 2>&-"
    assert "SSH" in cloud.ssh(first, greeted)


def test_regions_have_ranges_of_their_own_and_machines_at_the_same_time(cloud: Cloud) -> None:
    here, there = cloud.launch(EAST), cloud.launch(WEST)
    assert cloud.ssh(here, "echo here") == "here"
    assert cloud.ssh(there, "echo there", region=WEST) == "there"
    ranges = {region: cloud.ec2(region).describe_vpcs()["Vpcs"][0]["CidrBlock"] for region in (EAST, WEST)}
    assert len(set(ranges.values())) == 2
    assert cloud.describe(there, WEST)["Placement"]["AvailabilityZone"].startswith(WEST)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.describe(there, EAST)


def test_an_instance_goes_to_the_zone_it_is_asked_for(cloud: Cloud) -> None:
    machine = cloud.launch(Placement={"AvailabilityZone": "us-east-1c"})
    assert cloud.describe(machine)["Placement"]["AvailabilityZone"] == "us-east-1c"


def test_tags_are_kept_and_found_by(cloud: Cloud) -> None:
    tags = [{"Key": "cvl-ci-run", "Value": "12345-1"}]
    machine = cloud.launch(TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    cloud.ec2().create_tags(Resources=[machine], Tags=[{"Key": "late", "Value": "too"}])
    found = cloud.ec2().describe_instances(Filters=[{"Name": "tag:cvl-ci-run", "Values": ["12345-1"]}])
    assert [each["InstanceId"] for each in found["Reservations"][0]["Instances"]] == [machine]
    (listed,) = [each for each in cloud.sandbox.status().instances if each.id == machine]
    assert listed.tags == {"cvl-ci-run": "12345-1", "late": "too"}


def test_terminating_leaves_nothing_not_even_a_disk_or_an_address(cloud: Cloud) -> None:
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 50}}
    machine = cloud.launch(BlockDeviceMappings=[disk])
    assert containers(cloud.id)
    assert cloud.ec2().describe_volumes()["Volumes"]
    cloud.ec2().terminate_instances(InstanceIds=[machine])
    assert cloud.state(machine) == "terminated"
    assert containers(cloud.id) == []
    assert docker("volume", "ls", "-q", "--filter", f"label=cvl-ci-sandbox={cloud.id}").split() == []
    assert cloud.ec2().describe_volumes()["Volumes"] == []
    assert cloud.ec2().describe_network_interfaces()["NetworkInterfaces"] == []


def test_terminating_again_is_no_error(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.ec2().terminate_instances(InstanceIds=[machine])
    cloud.ec2().terminate_instances(InstanceIds=[machine])
    assert cloud.state(machine) == "terminated"


def test_a_protected_instance_is_not_terminated(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.ec2().modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": True})
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        cloud.ec2().terminate_instances(InstanceIds=[machine])
    assert cloud.state(machine) == "running"
    assert containers(cloud.id)
    cloud.ec2().modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": False})


def test_a_stopped_machine_keeps_its_files_until_it_is_started_again(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.ssh(machine, "echo kept > note")
    cloud.ec2().stop_instances(InstanceIds=[machine])
    assert cloud.state(machine) == "stopped"
    assert docker("ps", "--quiet", "--filter", f"label=cvl-ci-sandbox={cloud.id}").split() == []
    cloud.ec2().start_instances(InstanceIds=[machine])
    assert cloud.ssh(machine, "cat note") == "kept"


def test_a_rebooted_machine_keeps_its_files_and_loses_its_processes(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.ssh(machine, "echo kept > note; (sleep 987654 >/dev/null 2>&1 </dev/null &)")
    cloud.ec2().reboot_instances(InstanceIds=[machine])
    rest = "cat note; pgrep -f 'sleep 98765[4]' || echo none"
    assert cloud.ssh(machine, rest) == "kept\nnone"
    assert cloud.state(machine) == "running"


def test_a_spot_machine_says_so_and_cannot_be_stopped(cloud: Cloud) -> None:
    machine = cloud.launch(InstanceMarketOptions={"MarketType": "spot"})
    assert cloud.describe(machine)["InstanceLifecycle"] == "spot"
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        cloud.ec2().stop_instances(InstanceIds=[machine])


def test_regions_that_are_not_sold_have_no_machines(cloud: Cloud) -> None:
    with pytest.raises(ClientError, match="machines only in us-east-1, us-west-2"):
        cloud.launch("eu-west-1")


# ---- machines that end by themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize(("behaviour", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_a_machine_that_powers_itself_off_ends_as_its_instance_says(cloud: Cloud, behaviour: str, state: str) -> None:
    machine = cloud.launch(InstanceInitiatedShutdownBehavior=behaviour)
    cloud.ssh(machine, "(sleep 0.3; sudo shutdown -h now) >/dev/null 2>&1 </dev/null &")
    assert cloud.comes_to(state, machine)


def test_a_shutdown_can_be_put_off_and_called_off(cloud: Cloud) -> None:
    machine = cloud.launch()
    assert "scheduled in 60 s" in cloud.ssh(machine, "sudo shutdown -h +1 2>&1")
    cloud.ssh(machine, "sudo shutdown -c; ! pgrep -f 'sleep 6[0]'")


def test_a_machine_that_reboots_itself_comes_back(cloud: Cloud) -> None:
    machine = cloud.launch(InstanceInitiatedShutdownBehavior="terminate")
    before = cloud.ssh(machine, "cat /proc/1/stat | cut -d' ' -f22")
    cloud.ssh(machine, "(sleep 0.3; sudo reboot) >/dev/null 2>&1 </dev/null &")
    assert eventually(lambda: cloud.ssh(machine, "cat /proc/1/stat | cut -d' ' -f22") != before)
    assert cloud.state(machine) == "running"


def test_a_container_that_dies_shows(cloud: Cloud) -> None:
    machine = cloud.launch(InstanceInitiatedShutdownBehavior="terminate")
    docker("kill", *containers(cloud.id))
    assert cloud.comes_to("terminated", machine)
    assert containers(cloud.id) == []


def test_a_container_that_somebody_removes_shows_too(cloud: Cloud) -> None:
    machine = cloud.launch()
    docker("rm", "--force", "--volumes", *containers(cloud.id))
    assert cloud.comes_to("terminated", machine)


def test_a_killed_machine_is_gone_at_once_and_ec2_knows(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.sandbox.kill(machine)
    assert containers(cloud.id) == []
    assert cloud.state(machine) == "terminated"


def test_a_dead_host_may_go_on_being_called_running_and_can_be_terminated(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.sandbox.kill(machine, looks_running=True)
    assert containers(cloud.id) == []
    time.sleep(1.5)
    assert cloud.state(machine) == "running"
    cloud.ec2().terminate_instances(InstanceIds=[machine])
    assert cloud.state(machine) == "terminated"


# ---- what a machine knows of itself ------------------------------------------------------------------------------

ASK = """
token=$(curl -sf -X PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
ask() { curl -s -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/"$1"; }
"""


def test_a_machine_knows_itself_by_the_metadata_service(cloud: Cloud) -> None:
    machine = cloud.launch(IamInstanceProfile={"Name": "skypilot-v1"})
    words = "for leaf in instance-id placement/region placement/availability-zone; do ask meta-data/$leaf; echo; done"
    assert cloud.ssh(machine, ASK + words).split() == [machine, EAST, "us-east-1a"]
    document = json.loads(cloud.ssh(machine, ASK + "ask dynamic/instance-identity/document"))
    assert (document["instanceId"], document["region"]) == (machine, EAST)
    assert cloud.ssh(machine, ASK + "ask meta-data/iam/security-credentials/") == "skypilot-v1"
    role = json.loads(cloud.ssh(machine, ASK + "ask meta-data/iam/security-credentials/skypilot-v1"))
    assert role["AccessKeyId"].startswith("ASIA")


def test_an_instance_that_requires_tokens_gets_no_answer_without_one(cloud: Cloud) -> None:
    machine = cloud.launch(MetadataOptions={"HttpTokens": "required"})
    code = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/instance-id"
    assert cloud.ssh(machine, code) == "401"
    assert cloud.ssh(machine, ASK + "ask meta-data/instance-id") == machine


def test_an_instance_without_a_profile_has_no_role(cloud: Cloud) -> None:
    machine = cloud.launch()
    code = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/iam/security-credentials/"
    assert cloud.ssh(machine, code) == "404"


def test_a_machine_can_end_itself_with_its_role_alone(cloud: Cloud) -> None:
    machine = cloud.launch(IamInstanceProfile={"Name": "skypilot-v1"})
    program = (
        f"import boto3; boto3.client('ec2', region_name='us-east-1').terminate_instances(InstanceIds=['{machine}'])"
    )
    cloud.ssh(machine, f'(~/skypilot-runtime/bin/python -c "{program}") >/tmp/said 2>&1 </dev/null &')
    assert cloud.comes_to("terminated", machine, within=120)


def test_an_interrupted_spot_machine_is_told_and_then_taken(cloud: Cloud) -> None:
    machine = cloud.launch(InstanceMarketOptions={"MarketType": "spot"})
    code = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/spot/instance-action"
    assert cloud.ssh(machine, code) == "404"
    cloud.sandbox.interrupt(machine, notice_seconds=3)
    told = json.loads(cloud.ssh(machine, ASK + "ask meta-data/spot/instance-action"))
    assert told["action"] == "terminate"
    assert cloud.state(machine) == "running"
    assert cloud.comes_to("terminated", machine)
    assert cloud.describe(machine)["StateReason"]["Code"] == "Server.SpotInstanceTermination"


# ---- user data -------------------------------------------------------------------------------------------------------


def test_cloud_config_writes_files_and_runs_commands(cloud: Cloud) -> None:
    key = cloud.key.with_suffix(".pub").read_text().strip()
    machine = cloud.launch(
        user_data=f"""#cloud-config
users:
  - name: ubuntu
    ssh_authorized_keys: ["{key}"]
write_files:
  - {{path: /etc/told/file, content: "written\\n", permissions: "0640", owner: "root:ubuntu"}}
bootcmd:
  - touch /run/boot
runcmd:
  - [sh, -c, "cat /etc/told/file > /run/told"]
  - ls /run/boot >> /run/told
"""
    )
    assert eventually(lambda: "boot" in cloud.ssh(machine, "cat /run/told 2>/dev/null || true"))
    assert cloud.ssh(machine, "cat /run/told") == "written\n/run/boot"
    assert cloud.ssh(machine, "stat -c '%a %U:%G' /etc/told/file") == "640 root:ubuntu"


def test_user_data_may_be_a_script(cloud: Cloud) -> None:
    key = cloud.key.with_suffix(".pub").read_text().strip()
    machine = cloud.launch(
        user_data=f"""#!/bin/bash
install -d -o ubuntu /home/ubuntu/.ssh
echo '{key}' > /home/ubuntu/.ssh/authorized_keys
whoami > /run/by
"""
    )
    assert cloud.ssh(machine, "cat /run/by") == "root"


def test_user_data_may_be_both_in_many_parts(cloud: Cloud) -> None:
    key = cloud.key.with_suffix(".pub").read_text().strip()
    machine = cloud.launch(
        user_data=f"""Content-Type: multipart/mixed; boundary="=="
MIME-Version: 1.0

--==
Content-Type: text/cloud-config; charset="us-ascii"

#cloud-config
ssh_authorized_keys: ["{key}"]
--==
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/sh
echo script > /run/by
--==--
"""
    )
    assert eventually(lambda: cloud.ssh(machine, "cat /run/by 2>/dev/null || true") == "script")


# ---- Docker inside ---------------------------------------------------------------------------------------------------


def test_a_machine_builds_and_runs_containers_of_its_own(cloud: Cloud) -> None:
    machine = cloud.launch()
    said = cloud.ssh(
        machine,
        "mkdir work && cd work && printf 'FROM debian:bookworm-slim\\nRUN echo built > /built\\n' > Dockerfile"
        " && docker build -q -t mine . >/dev/null && echo mounted > note"
        ' && docker run --rm -v "$PWD:/work" --shm-size 256m --ipc host mine cat /built /work/note',
    )
    assert said == "built\nmounted"


def test_asking_for_gpus_inside_is_answered_by_one_line_and_a_container_without(cloud: Cloud) -> None:
    machine = cloud.launch(InstanceType="g4dn.xlarge")
    said = cloud.ssh(machine, "docker run --rm --gpus all debian:bookworm-slim echo ran 2>&1")
    MESSAGES.check("no GPU inside", said)
    own = cloud.ssh(machine, "docker run --rm debian:bookworm-slim echo --gpus 2 2>/dev/null")
    assert own == "--gpus 2", "what a program inside is told is its own business"


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_no_capacity_in_a_zone_leaves_the_others(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(no_capacity=("us-east-1a",)))
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        cloud.launch(Placement={"AvailabilityZone": "us-east-1a"})
    assert cloud.state(cloud.launch(Placement={"AvailabilityZone": "us-east-1b"})) == "running"


def test_no_capacity_in_a_region_leaves_the_other(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(no_capacity=(EAST,)))
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        cloud.launch(EAST)
    assert cloud.state(cloud.launch(WEST), WEST) == "running"


def test_no_spot_capacity_leaves_machines_on_demand(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(no_spot_capacity=(EAST,)))
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        cloud.launch(InstanceMarketOptions={"MarketType": "spot"})
    assert cloud.state(cloud.launch()) == "running"


def test_an_action_is_throttled_where_it_is_told_to_be(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(throttle=(Throttle(action="DescribeInstances", region=EAST),)))
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        cloud.ec2(EAST).describe_instances()
    assert cloud.ec2(WEST).describe_instances()
    assert cloud.ec2(EAST).describe_vpcs()
    cloud.sandbox.set_faults(Faults(throttle=(Throttle(action="DescribeInstances", probability=0.5),)))
    assert cloud.ec2(EAST, attempts=9).describe_instances(), "a patient client gets through"


def test_other_services_are_throttled_too(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(throttle=(Throttle(action="*"),)))
    with pytest.raises(ClientError, match="Throttling"):
        cloud.client("sts", EAST).get_caller_identity()


def test_keys_that_have_expired_open_nothing_and_other_keys_do(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(expired_keys=(cloud.access.access_key_id,)))
    with pytest.raises(ClientError, match="RequestExpired"):
        cloud.ec2().describe_instances()
    with pytest.raises(ClientError, match="ExpiredToken"):
        cloud.client("sts", EAST).get_caller_identity()
    cloud.sandbox.set_faults(Faults(expired_keys=("AKIA0000000000000000",)))
    assert cloud.ec2().describe_instances()


def test_an_api_that_is_down_answers_503_or_nothing(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.sandbox.set_faults(Faults(api_down="503"))
    with pytest.raises(ClientError, match="503"):
        cloud.ec2().describe_instances()
    cloud.sandbox.set_faults(Faults(api_down="closed"))
    with pytest.raises((ConnectionClosedError, NoConnection)):
        cloud.ec2().describe_instances()
    assert cloud.sandbox.status().up, "the sandbox itself goes on answering"
    cloud.sandbox.set_faults(Faults())
    assert cloud.ssh(machine, "echo untouched") == "untouched"


def test_an_answer_to_head_has_no_body(cloud: Cloud) -> None:
    """A client that goes on with the connection would read a body as the next answer."""
    address = urlsplit(cloud.access.endpoint_url)
    with socket.create_connection((address.hostname, address.port or 80), timeout=60) as line:
        line.sendall(f"HEAD / HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ") and body == b""


def test_a_lost_answer_leaves_the_machine_and_asking_again_makes_no_second_one(cloud: Cloud) -> None:
    token = str(uuid.uuid4())
    cloud.sandbox.set_faults(Faults(lost_answers=("RunInstances",)))
    with pytest.raises((ConnectionClosedError, NoConnection)):
        cloud.launch(ClientToken=token)
    assert len(containers(cloud.id)) == 1
    cloud.sandbox.set_faults(Faults())
    assert cloud.state(cloud.launch(ClientToken=token)) == "running"
    assert len(containers(cloud.id)) == 1


def test_terminating_fails_where_it_is_told_to_and_terminates_nothing(cloud: Cloud) -> None:
    machine = cloud.launch()
    cloud.sandbox.set_faults(Faults(terminate_fails=(EAST,)))
    with pytest.raises(ClientError, match="InternalError"):
        cloud.ec2().terminate_instances(InstanceIds=[machine])
    assert cloud.state(machine) == "running"
    assert cloud.ssh(machine, "echo alive") == "alive"


def test_a_slow_machine_runs_long_before_it_answers(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(slow_boot_seconds=3))
    began = time.monotonic()
    machine = cloud.launch()
    assert cloud.state(machine) == "running"
    assert cloud.ssh(machine, "echo late") == "late"
    assert time.monotonic() - began >= 3


def test_a_machine_that_never_answers_runs_and_can_be_terminated(cloud: Cloud) -> None:
    cloud.sandbox.set_faults(Faults(never_ssh=(EAST,)))
    machine = cloud.launch()
    with pytest.raises(AssertionError):
        cloud.ssh(machine, "true", patience=4)
    assert cloud.state(machine) == "running"
    cloud.ec2().terminate_instances(InstanceIds=[machine])
    assert containers(cloud.id) == []


# ---- where it listens, what it writes down -----------------------------------------------------------------------


def test_it_listens_on_loopback_and_its_gateways_and_nowhere_else(cloud: Cloud) -> None:
    port = int(cloud.access.endpoint_url.rpartition(":")[2])
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    bound = {line.split()[1] for line in table if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")}
    assert len(bound) == 3
    assert not any(address.startswith("00000000:") for address in bound)


NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
TRY = """
import http.client, pathlib, sys
directory, host, port = sys.argv[1:4]
for path in pathlib.Path(directory).rglob("*"):
    try:
        content = path.read_text(errors="replace") if path.is_file() else ""
    except OSError:
        continue
    assert "aws_secret_access_key" not in content, path
try:
    open(f"{directory}/keys/keys.json")
    raise SystemExit("the keys can be read")
except OSError:
    pass
run = "Action=RunInstances&ImageId=ami-05a4dbc0c0ffee001&InstanceType=m6i.large&MinCount=1&MaxCount=1"
run += "&Version=2016-11-15"
wrong = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/ec2/aws4_request, "
wrong += "SignedHeaders=host;x-amz-date, Signature=00"
form = {"Content-Type": "application/x-www-form-urlencoded"}
for method, path, body, headers in (
    ("POST", "/", run, form),
    ("POST", "/", run, {**form, "Authorization": wrong, "X-Amz-Date": "20260101T000000Z"}),
    ("GET", f"/?{run}", None, {}),
    ("POST", "/moto-api/reset", "", {}),
    ("GET", "/_sandbox/health", None, {}),
    ("GET", "/_sandbox/instances", None, {}),
    ("POST", "/_sandbox/stop", "{}", {}),
    ("POST", "/_sandbox/stop", "{}", {"X-Sandbox-Key": "guessed"}),
    ("GET", "/", None, {"Host": "bucket.s3.amazonaws.com"}),
):
    for here in ("127.0.0.1", host):
        line = http.client.HTTPConnection(here, int(port), timeout=20)
        line.request(method, path, body, headers)
        answer = line.getresponse()
        assert answer.status in (401, 403), (path, answer.status, answer.read())
print("nothing")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_this_computer_gets_nothing(cloud: Cloud) -> None:
    """Neither a machine, which would make them root here, nor keys, nor a word about what is up."""
    before = containers(cloud.id)
    for folder in (cloud.directory, *cloud.directory.parents):
        if not folder.stat().st_mode & 0o001 and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)  # else the folder would hide what we look for
    host, _, port = cloud.access.endpoint_url.removeprefix("http://").partition(":")
    tried = subprocess.run(
        [*NOBODY, "/usr/bin/python3", "-c", TRY, str(cloud.directory), host, port],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (tried.stdout, tried.stderr) == ("nothing\n", "")
    assert containers(cloud.id) == before
    assert cloud.sandbox.status().up


def test_a_machine_has_no_more_rights_than_its_engine_needs(cloud: Cloud) -> None:
    machine = cloud.launch()
    code = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.syscall(NUMBER, 0, 0, 0), ctypes.get_errno())"
    number = {"x86_64": "304", "aarch64": "265"}[os.uname().machine]
    assert cloud.ssh(machine, f'sudo python3 -c "{code.replace("NUMBER", number)}"') == "-1 1"  # open_by_handle_at
    status = cloud.ssh(machine, "sudo grep -E '^(CapBnd|Seccomp):' /proc/1/status").split()
    assert int(status[1], 16) & (1 << 2) == 0  # CAP_DAC_READ_SEARCH
    assert status[3] == "2"  # a filter is on


def test_machines_cannot_command_the_emulator(cloud: Cloud) -> None:
    machine = cloud.launch()
    code = f"curl -s -o /dev/null -w '%{{http_code}}' -d '{{}}' {cloud.access.endpoint_url}/_sandbox/stop"
    assert cloud.ssh(machine, code) == "403"
    assert cloud.sandbox.status().up


def test_every_action_is_written_down_with_who_called_it(cloud: Cloud) -> None:
    machine = cloud.launch(IamInstanceProfile={"Name": "skypilot-v1"})
    program = "import boto3; boto3.client('ec2', region_name='us-east-1').describe_tags()"
    cloud.ssh(machine, f'~/skypilot-runtime/bin/python -c "{program}"')
    cloud.client("s3", EAST).list_buckets()
    seen = json.loads((cloud.directory / "actions.json").read_text())
    assert {"ec2:RunInstances", "s3:ListAllMyBuckets"} <= set(seen["client"])
    assert "ec2:DescribeTags" in seen["machine"]
    assert "ec2:DescribeTags" not in seen["client"]
