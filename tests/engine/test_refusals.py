"""Whose fault a failure is: every exception class of SkyPilot's has a decision, and only what may pass is retried."""

from __future__ import annotations

import json
import os

import pytest

from cvl_ci.engine import sky_errors
from cvl_ci.engine.process import WorkerFailed
from cvl_ci.engine.sky_refusals import CLASSES, FailureKind, kind_of
from tests import golden
from tests.engine import skypilot_errors
from tests.support import sky_process

MESSAGES = golden.Messages(__name__)

_FOREIGN = {
    *("TaskUnreadable", "ValidationError", "NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"),
    *("RefreshError", "ClientAuthenticationError", "CredentialUnavailableError"),
}
"""Ours, jsonschema's and the clouds' SDKs'."""

_NO_ROOM = "ResourcesUnavailableError: Failed to acquire resources in all zones in us-east-1 for {AWS(m5.large)}."
_CATALOGUE = "Catalog does not contain any instances satisfying the request: 1x AWS({'A100': 1})."

CASES = [
    # error, text, history, what the providers answered, was any asked; exit code
    (("InvalidSkyPilotConfigError", "Invalid task YAML: x", [], [], False), 64),
    (("TaskUnreadable", "Invalid infra format", [], [], False), 64),
    (("ValidationError", "5 is not of type 'string'", [], [], False), 64),
    (("ValueError", "Invalid region 'us-east-9'", [], [], False), 64),
    (("NotImplementedError", "ports", [], [], False), 64),
    (("ValueError", "Failed to parse job id", [], [], True), 70),
    (("JSONDecodeError", "Expecting value", [], [], False), 70),
    (("NotSupportedError", "Docker image is not supported on lambda", [], [], False), 64),
    (("StorageSourceError", "Local source ./x does not exist", [], [], False), 64),
    (("StorageBucketGetError", "Attempted to use a non-existent bucket as a source: s3://x", [], [], False), 64),
    (("StorageBucketGetError", "you do not have access to s3://x", [], [], False), 77),
    (("StorageInitError", "An error occurred (AccessDenied)", [], [], False), 77),
    (("StorageUploadError", "rsync failed", [], [], False), 70),
    (("VolumeNotFoundError", "Volume x not found.", [], [], False), 64),
    (("UserRequestRejectedByPolicy", "no", [], [], False), 64),
    (("ResourcesUnavailableError", _CATALOGUE, [], [], False), 64),
    (("ResourcesUnavailableError", "\x1b[31mTask 'x' requires AWS which is not enabled.", [], [], False), 77),
    (("ResourcesUnavailableError", "all failed", [_NO_ROOM], ["InsufficientInstanceCapacity: no"], True), 75),
    (("ResourcesUnavailableError", "all failed", [_NO_ROOM], ["VcpuLimitExceeded: 0"], True), 75),
    (("ResourcesUnavailableError", "all failed", [_NO_ROOM], ["UnauthorizedOperation: no"], True), 77),
    (("ResourcesUnavailableError", "all failed", [_NO_ROOM], ["InvalidAMIID.NotFound: ami-1"], True), 64),
    (("ResourcesUnavailableError", "x", [_NO_ROOM], ["InvalidAMIID.NotFound: ami-1", "something new"], True), 75),
    (("ResourcesUnavailableError", "x", [_NO_ROOM], ["RequestLimitExceeded: slow"], True), 70),
    (("ResourcesUnavailableError", "x", ["ResourcesUnavailableError: invalid cloud credentials"], [], True), 77),
    (("ResourcesUnavailableError", "x", ["ResourcesUnavailableError: due to invalid cloud config: y"], [], True), 64),
    (("ResourcesUnavailableError", "x", ["ResourcesUnavailableError: invalid cloud config", _NO_ROOM], [], True), 75),
    (("ResourcesUnavailableError", "x", ["ResourcesUnavailableError: Found no quota for p4d"], [], True), 75),
    (("ResourcesUnavailableError", "x", ["ProvisionUnsupportedError: no such shape"], [], True), 64),
    (("ResourcesUnavailableError", "x", ["InvalidCloudCredentials: y"], [], True), 77),
    (("ClusterOwnerIdentityMismatchError", "other", [], [], False), 77),
    (("NoCloudAccessError", "aws: none", [], [], False), 77),
    (("ClientError", "An error occurred (ExpiredToken) when calling", [], [], True), 77),
    (("CloudError", "gcp error (Forbidden): Quota 'CPUS' exceeded", [], [], True), 75),
    (("AWSAzFetchingError", "Failed to access AWS services. Please check your AWS credentials.", [], [], False), 77),
    (("AWSAzFetchingError", "Failed to connect to the AWS EC2 endpoint.", [], [], False), 70),
    (("KubeAPIUnreachableError", "timed out", [], [], False), 70),
    (("ClusterDoesNotExist", "x", [], [], False), 70),
    (("CommandError", "Permission denied (publickey)", [], [], True), 70),
    (("SomethingNew", "never seen", [], [], False), 70),
]


@pytest.mark.parametrize(("case", "code"), CASES)
def test_a_failure_ends_with_the_code_of_who_can_mend_it(
    case: tuple[str, str, list[str], list[str], bool], code: int
) -> None:
    error, text, history, refusals, asked = case
    failure = WorkerFailed(error=error, text=text, history=tuple(history))
    found = sky_errors.as_cvl_error(failure, refusals=refusals, was_requested=asked)
    assert found.exit_code == code, found
    assert "\x1b" not in str(found)
    if code in (64, 77):
        assert "run it" not in str(found).lower()


def test_a_class_of_a_new_version_is_known_by_those_above_it_and_an_error_by_its_cause() -> None:
    new = WorkerFailed(error="StorageShapeError", text="x", bases=("StorageSpecError", "ValueError", "Exception"))
    assert kind_of(new, was_requested=True) is FailureKind.REQUEST
    wrapped = WorkerFailed(error="RuntimeError", text="failed", causes=("InvalidCloudCredentials: x",))
    assert kind_of(wrapped) is FailureKind.CREDENTIALS
    told = WorkerFailed(error="RuntimeError", text="failed", causes=("ClientError: (AuthFailure)",))
    assert kind_of(told) is FailureKind.CREDENTIALS
    checked = WorkerFailed(error="ProvisionPrechecksError", text="", history=("NotSupportedError: x",))
    assert kind_of(checked, was_requested=False) is FailureKind.REQUEST


def test_no_class_has_two_kinds() -> None:
    names = [name for group in CLASSES.values() for name in group]
    assert len(names) == len(set(names))


def test_a_refused_request_says_that_asking_again_changes_nothing() -> None:
    found = sky_errors.as_cvl_error(
        WorkerFailed(error="NotSupportedError", text="no ports\non lambda"), was_requested=False
    )
    MESSAGES.check("a refused request", str(found))


@pytest.mark.sky
def test_every_exception_class_of_skypilot_has_a_decision() -> None:
    decided = {name for group in CLASSES.values() for name in group}
    assert decided - _FOREIGN == skypilot_errors.classes().keys()


ASK = """
import json
from cvl_ci.engine.worker import provision_hooks as attempts, worker
from sky import exceptions

def said(config):
    try:
        attempts.task_of({"run": "x", **config})
    except Exception as error:
        return worker.describe(error)
    return None

def wrapped():
    try:
        try:
            raise exceptions.InvalidCloudCredentials("expired")
        except Exception as cause:
            raise exceptions.ResourcesUnavailableError("all", failover_history=[ValueError("first"), cause]) from cause
    except Exception as error:
        return worker.describe(error)

print(json.dumps([
    said({"runn": "y"}),
    said({"resources": {"infra": "aws", "cloud": "aws"}}),
    said({"resources": {"cpus": "many"}}),
    said({"resources": {"accelerators": "tpu-v5p-8", "infra": "aws"}}),
    said({"file_mounts": {"/d": {"name": "b", "store": "s4"}}}),
    wrapped(),
]))
"""


@pytest.mark.sky
def test_what_skypilots_own_loader_refuses_is_the_request() -> None:
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(ASK, env=env, loaded=True)
    *refused, wrapped = json.loads(done.stdout.splitlines()[-1])
    for said in refused:
        said["history"], said["bases"], said["causes"] = map(tuple, (said["history"], said["bases"], said["causes"]))
        assert kind_of(WorkerFailed(**said), was_requested=False) is FailureKind.REQUEST, said
    assert wrapped["history"] == ["ValueError: first", "InvalidCloudCredentials: expired"]
    assert wrapped["causes"] == ["InvalidCloudCredentials: expired"]
    assert wrapped["bases"][0] == "Exception"
