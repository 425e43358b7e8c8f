"""Two first launches in a region race for SkyPilot's security group: who comes second is no leg without capacity."""

from __future__ import annotations

import json
import os

import pytest

from tests import golden
from tests.support import sky_process

MESSAGES = golden.Messages(__name__)

pytestmark = pytest.mark.sky

ASK = """
import json
from cvl_ci.engine.worker import provision_hooks as attempts

def asked(*answers):
    left, times = list(answers), []
    def ask():
        times.append(1)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
    try:
        came = attempts._provisioned(ask)
    except Exception as error:
        came = str(error)
    return [came, len(times)]

def wrapped(code):
    try:
        try:
            raise RuntimeError(f"An error occurred ({code}) when calling AuthorizeSecurityGroupIngress")
        except RuntimeError as cause:
            raise ValueError("Failed to set up the network") from cause
    except ValueError as error:
        return error

print(json.dumps({
    "raced": asked(wrapped("InvalidPermission.Duplicate"), "up"),
    "raced as a group": asked(RuntimeError("(InvalidGroup.Duplicate)"), "up"),
    "raced and then full": asked(wrapped("InvalidPermission.Duplicate"), ValueError("no capacity"), "up"),
    "full": asked(ValueError("no capacity"), "up"),
}))
"""


def test_the_second_of_two_is_asked_for_once_more_and_what_is_refused_is_not() -> None:
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(ASK, env=env, loaded=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "raced": ["up", 2],
        "raced as a group": ["up", 2],
        "raced and then full": ["no capacity", 2],
        "full": ["no capacity", 1],
    }


FAILOVER = """
import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from cvl_ci.engine.worker import provision_hooks
from cvl_ci.engine.deadline import Deadline
from cvl_ci.engine.quoted_prices import QuotedPrices
from cvl_ci.model.budget import Budget

events, texts, clock = [], [], [0.0]
prices = {"r1": 3.6, "r2": 3.6, "r3": 3.6, "r4": 90.0, "r5": 3.6, "r6": 101.0, "r7": 500.0}
quoted = QuotedPrices(most_usd=100.0, believed={("lambda", "r7", "gpu", False): 3.6})
made = lambda count: SimpleNamespace(created_instance_ids=["i"] * count, resumed_instance_ids=[])

def handle(region):
    resources = SimpleNamespace(
        cloud="Lambda", region=region, instance_type="gpu", accelerators={}, use_spot=False, ports=None,
        get_cost=lambda seconds: prices[region],
    )
    return SimpleNamespace(launched_resources=resources)

def bulk_provision(cloud, region, zones):
    if region.name == "r1":
        raise ValueError("no capacity")
    record = provision_hooks.provision.run_instances(region.name)
    clock[0] += 60.0
    if region.name in ("r2", "r3"):
        raise RuntimeError("never answered")
    return record

provision_hooks.provision.run_instances = lambda name: made(2)
provision_hooks.provisioner.bulk_provision = bulk_provision
end = Deadline(1e9, budget=Budget(max_usd=0.8), nodes=2, now=lambda: clock[0])
def send(kind, **more):
    events.append([kind, more["attempt"]["region"], more.get("machines")])
    if kind == "too_dear":
        texts.append(more["text"])
run = []
@contextmanager
def watched(name):
    run.append(name)
    yield
    run.append(f"not {name}")
    if name == "r5":
        raise RuntimeError("the watch failed")
guarded = provision_hooks.guard_attempts(
    send, cluster="c", fence=Path("/nowhere/at/all"), deadline=end, quoted=quoted, watched=lambda: watched(name)
)
errors = []
for name in prices:
    provision_hooks.global_user_state.get_handle_from_cluster_name = lambda _, name=name: handle(name)
    try:
        provision_hooks.provisioner.bulk_provision("Lambda", SimpleNamespace(name=name), None)
    except Exception as error:
        errors.append(type(error).__name__)
paid = end.at - clock[0] + 60.0
guarded.close()
provision_hooks.guard_attempts(
    send, cluster="c", fence=Path("/nowhere/at/all"), deadline=Deadline(1e9), quoted=quoted, watched=lambda: 1 / 0
)
provision_hooks.provisioner.bulk_provision("Lambda", SimpleNamespace(name="r7"), None)
events.pop()
print(json.dumps({"events": events, "errors": errors, "spent": end.spent_usd, "texts": texts, "paid": paid,
                  "run": run}))
"""


def test_machines_that_came_up_cost_and_a_place_that_the_rest_cannot_pay_gets_no_request() -> None:
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    code = FAILOVER
    done = sky_process.run(code, env=env, loaded=True)
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["events"] == [
        ["attempting", "r1", None],
        ["attempt_failed", "r1", 0],
        ["attempting", "r2", None],
        ["attempt_failed", "r2", 2],
        ["attempting", "r3", None],
        ["attempt_failed", "r3", 2],
        ["too_dear", "r4", None],
        ["attempting", "r5", None],
        ["too_dear", "r6", None],
        ["attempting", "r7", None],
    ]
    assert shown["errors"] == ["ValueError", "RuntimeError", "RuntimeError", "TooDear", "TooDear"]
    assert shown["run"] == ["r5", "not r5", "r7", "not r7"], "only machines that came up are watched, until the next"
    assert "max_cost does not pay for it" in shown["texts"][0]
    MESSAGES.check("too dear", shown["texts"][1])
    assert shown["spent"] == pytest.approx(2 * 2 * 0.06)
    assert shown["paid"] == pytest.approx(240 - 150), "56 cents buy 280 s: four whole minutes, less the delay"


ARM = """
import base64, email, json, time
from pathlib import Path
from urllib.parse import parse_qs
from types import SimpleNamespace
import boto3
from botocore.awsrequest import AWSResponse
from cvl_ci.engine.worker import provision_hooks
from cvl_ci.engine.deadline import Deadline
from cvl_ci.engine.quoted_prices import QuotedPrices

sent = []

def answer(request, **_):
    sent.append(parse_qs(request.body if isinstance(request.body, str) else request.body.decode()))
    response = AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda **_: iter(())))
    response._content = b"<RunInstancesResponse><instancesSet/></RunInstancesResponse>"
    return response

now, timers = int(time.time()), []
for late in (600, 1200):  # the second launch of a process: a recovery
    provision_hooks.guard_attempts(
        lambda kind, **more: None, cluster="c", fence=Path("/nowhere/at/all"), deadline=Deadline(now + late),
        quoted=QuotedPrices(), set_up_seconds=300.0,
    )
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b")
    client = session.client("ec2", region_name="us-east-1")
    client.meta.events.register("before-send.ec2.RunInstances", answer)
    client.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, UserData="#cloud-config")
    message = email.message_from_bytes(base64.b64decode(sent[-1]["UserData"][0]))
    hook = next(message.walk()) if not message.is_multipart() else message.get_payload(0)
    text = hook.get_payload(decode=True).decode()
    set_up = int(text.partition("set_up_end=")[2].split()[0]) - now
    is_early = 300 <= set_up < min(late, 360)
    timers.append([f"original={now + late} " in text, is_early, sent[-1]["InstanceInitiatedShutdownBehavior"][0]])
print(json.dumps(timers))
"""


def test_each_request_for_machines_carries_the_timer_of_its_own_launch() -> None:
    """By botocore's own events, up to the bytes that would go to EC2."""
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(ARM, env=env, loaded=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[True, True, "terminate"]] * 2


PORTS = """
import json
from pathlib import Path
from types import SimpleNamespace
import boto3
from moto import mock_aws
from cvl_ci.engine.worker import open_port, provision_hooks
from cvl_ci.engine.deadline import Deadline
from sky import backends, clouds, global_user_state
from sky.provision.aws import config
from tests.support import aws_descriptions

aws_descriptions.share()
LEASE, ON_CLOUD, REGION = "cvl-1-aaaaaaaa", "cvl-1-aaaaaaaa-bbbbbbbb", "us-east-1"
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
session = boto3.Session(**KEYS)

def rules(ec2, name):
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
    return sorted(
        (rule["FromPort"], rule["ToPort"], [one["CidrIp"] for one in rule["IpRanges"]])
        for rule in group["IpPermissions"] if rule["IpProtocol"] == "tcp"
    )

with mock_aws():
    ec2 = session.client("ec2", region_name=REGION)
    subnet = ec2.describe_subnets()["Subnets"][0]
    resource = session.resource("ec2", region_name=REGION)
    shared = config._configure_security_group(resource, subnet["VpcId"], "shared", [], False)
    resources = SimpleNamespace(
        cloud=clouds.AWS(), region=REGION, instance_type="m6i.large", accelerators={}, use_spot=False, zone=None,
        ports=["8888", "9000-9001"], cluster_config_overrides={}, get_cost=lambda seconds: 0.1,
    )
    handle = SimpleNamespace(launched_resources=resources, cluster_yaml="", cluster_name_on_cloud=ON_CLOUD)
    provider = {"region": REGION, "security_group": {"GroupName": "shared", "ManagedBySkyPilot": False}}
    global_user_state.get_handle_from_cluster_name = lambda _: handle
    global_user_state.get_cluster_yaml_dict = lambda _: {"provider": provider}
    opening = open_port.opening_of(open_port.values_of(None, labels={"cvl-ci-lease": LEASE}, lease=LEASE))
    def bulk_provision(*_):
        boto3.Session(**KEYS).client("ec2", region_name=REGION).run_instances(
            ImageId="ami-12c6146b", InstanceType="m6i.large", MinCount=1, MaxCount=1, UserData="#cloud-config",
            NetworkInterfaces=[{"SubnetId": subnet["SubnetId"], "DeviceIndex": 0, "Groups": shared}],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [
                {"Key": "ray-cluster-name", "Value": ON_CLOUD}, {"Key": "skypilot-cluster-name", "Value": ON_CLOUD},
            ]}],
        )
    provision_hooks.provisioner.bulk_provision = bulk_provision
    provision_hooks.guard_attempts(
        lambda kind, **more: None, cluster="c", fence=Path("/nowhere/at/all"), deadline=Deadline(2e9), opening=opening,
    )
    provision_hooks.provisioner.bulk_provision("AWS", SimpleNamespace(name=REGION), None)
    backends.CloudVmRayBackend()._open_ports(handle)
    (reservation,) = ec2.describe_instances()["Reservations"]
    names = sorted(group["GroupName"] for group in reservation["Instances"][0]["NetworkInterfaces"][0]["Groups"])
    print(json.dumps({"groups": names, **{name: rules(ec2, name) for name in names}}))
    (own,) = ec2.describe_security_groups(Filters=[{"Name": "tag:cvl-ci-lease", "Values": [LEASE]}])["SecurityGroups"]
    assert own["GroupName"] == LEASE
"""


def test_the_ports_of_a_task_open_in_the_group_of_its_lease_and_never_in_the_shared_one() -> None:
    """SkyPilot's own functions on moto: the group that all runs share admits ssh alone, before and after."""
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    env |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    env["MOTO_AMIS_PATH"] = os.environ["MOTO_AMIS_PATH"]
    done = sky_process.run(PORTS, env=env, loaded=True)
    assert done.returncode == 0, done.stderr[-2000:]
    world = ["0.0.0.0/0"]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "groups": ["cvl-1-aaaaaaaa", "shared"],
        "cvl-1-aaaaaaaa": [[8888, 8888, world], [9000, 9001, world]],
        "shared": [[22, 22, world]],
    }


ELSEWHERE = """
from cvl_ci.engine.worker import provision_hooks
asked = []
provision_hooks.provision.open_ports = lambda *arguments: asked.append(arguments)
for _ in range(2):  # the second launch of a process: a recovery
    provision_hooks._leave_ports_to_us()
for name in ("AWS", "GCP"):
    provision_hooks.provision.open_ports(name, "c", ["8888"], {})
print([arguments[0] for arguments in asked])
"""


def test_skypilot_opens_ports_on_other_clouds_itself() -> None:
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(ELSEWHERE, env=env, loaded=True)
    assert done.stdout.splitlines()[-1] == "['GCP']"
