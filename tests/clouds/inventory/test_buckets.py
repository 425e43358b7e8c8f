"""Buckets on an emulated S3: a lease ends its own, leaves those that stay, and touches nothing without its label."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cvl_ci.clouds import AwsBuckets, AwsInventory, ec2_clients, service_clients
from cvl_ci.commands.reap import down_text
from cvl_ci.commands.reap.down import Downed, DownPorts, down
from cvl_ci.commands.reap.reap import Reaped
from cvl_ci.commands.reap.text import verdict
from cvl_ci.commands.run import mount_sources
from cvl_ci.errors import EngineError, NotProvedGone, RequestError
from cvl_ci.inputs import mounts
from cvl_ci.lease import PROOF_SECONDS, Lease, sweep
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.lease_name import LABEL_BUCKETS, LABEL_PERSISTENT, NO_BUCKETS
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import FilePlan, RunPlan, WorkPlan
from cvl_ci.model.storage import Bucket, StoredBytes
from cvl_ci.ports import Cloud, LeaseRecord, ResourceKind
from cvl_ci.result import text
from cvl_ci.result.report import job_summary
from tests.result.outcomes import KEPT
from tests.support.fakes import FakeClock, FakeCloud, FakeEngine, FakeRecords, FakeReporter

OURS = Owner(repository="cvl/ci", run="12345678901")
REGION = "us-east-1"


class Account:
    def __init__(self, folder: Path) -> None:
        self.clients = service_clients(access_key_id="testing", secret_access_key="testing")
        self.s3: Any = self.clients("s3", REGION)
        self.buckets = AwsBuckets(clients=self.clients, regions=lambda: [REGION, "us-west-2"])
        self.clock = FakeClock()
        self.cloud = FakeCloud(self.clock)
        self.records = FakeRecords(folder)
        self.said: list[str] = []

    def make(self, name: str, *, lease: str = OURS.name, stays: bool = False, labelled: bool = True) -> Bucket:
        self.s3.create_bucket(Bucket=name)
        self.s3.put_object(Bucket=name, Key="a/b", Body=b"12345")
        labels = {**OURS.labels(deadline=time.time() - 60), "cvl-ci-lease": lease}
        tags = [{"Key": key, "Value": value} for key, value in labels.items()]
        if stays:
            tags.append({"Key": LABEL_PERSISTENT, "Value": "true"})
        if labelled:
            self.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})
        return Bucket(name=name, region=REGION, stays=stays)

    def names(self) -> set[str]:
        return {bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]}

    def lease(self) -> Lease:
        record = LeaseRecord(
            name=OURS.name, labels={}, deadline=0.0, locations=(Location(cloud="aws"),), taken_at=self.clock.now()
        )
        return Lease(
            record,
            machines=FakeEngine(self.cloud),
            inventory=self.cloud,
            records=self.records,
            clock=self.clock,
            say=self.said.append,
            storage=self.buckets,
        )


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with mock_aws():
        yield Account(tmp_path)


def test_a_release_ends_the_buckets_of_its_lease_and_names_those_that_stay(account: Account) -> None:
    account.make("somebody-elses", labelled=False)
    lease = account.lease()
    for bucket in (account.make("temporary"), account.make("checkpoints", stays=True)):
        lease.record_bucket(bucket)
    account.s3.create_multipart_upload(Bucket="temporary", Key="half")

    release = lease.release()

    assert release.gone
    assert account.names() == {"somebody-elses", "checkpoints"}
    [end], [staying] = release.ended_buckets, release.buckets
    assert (end.bucket.name, end.content) == ("temporary", StoredBytes(files=1, bytes=5)), "asked before its end"
    assert end.since == staying.since == lease.record.taken_at, "their storage has a price from then on"
    assert [check.stays for check in release.asked if check.stays] == [("s3://checkpoints",)]
    assert text.kept_bucket(release.buckets[0]) == (
        "s3://checkpoints stays, as the run asked: 1 file, 5 B, $0.00 a month at S3 Standard's price"
    )


def test_between_two_generations_of_machines_every_bucket_of_the_lease_stays_and_the_release_ends_it(
    account: Account,
) -> None:
    lease = account.lease()
    lease.acquire()
    for bucket in (account.make("temporary"), account.make("checkpoints", stays=True)):
        lease.record_bucket(bucket)
    account.cloud.create(lease=OURS.name, region=REGION)

    cleared = lease.clear()

    assert cleared.gone and account.cloud.running() == []
    assert account.names() == {"temporary", "checkpoints"}
    assert account.s3.get_object(Bucket="temporary", Key="a/b")["Body"].read() == b"12345"
    record = account.records.read(OURS.name)
    assert record is not None and record.released_at is None
    assert [bucket.name for bucket in record.buckets] == ["temporary", "checkpoints"]
    assert not account.records.fence(OURS.name).exists(), "new machines may be launched"
    assert lease.release().gone
    assert account.names() == {"checkpoints"}
    assert account.records.fence(OURS.name).exists()


def test_kept_machines_name_their_temporary_bucket_and_the_command_that_ends_it(account: Account) -> None:
    lease = account.lease()
    lease.acquire()
    for bucket in (account.make("temporary"), account.make("checkpoints", stays=True)):
        lease.record_bucket(bucket)
    account.cloud.create(lease=OURS.name, region=REGION)

    release = lease.keep(until=account.clock.now() + 600, public_key=None)

    assert release.kept is not None
    assert [str(bucket) for bucket in release.kept.buckets] == ["s3://temporary"]
    assert [str(one.bucket) for one in release.buckets] == ["s3://checkpoints"]
    assert [(str(one.bucket), one.content) for one in release.ended_buckets] == [("s3://temporary", None)]
    outcome = replace(KEPT, release=release)
    lines = text.released(outcome)
    [temporary] = [line for line in lines if line.startswith("s3://temporary does not end with the machine")]
    assert temporary.endswith(text.down_command(outcome))
    assert any(line.startswith("s3://checkpoints stays, as the run asked") for line in lines)
    assert temporary in job_summary(outcome)


def test_a_later_process_ends_them_by_the_record_alone(account: Account) -> None:
    lease = account.lease()
    lease.record_bucket(Bucket(name="temporary", region=REGION))
    account.make("temporary")  # the run was killed between the record and the end of its request
    record = account.records.read(OURS.name)
    assert record is not None
    assert [bucket.name for bucket in record.buckets] == ["temporary"]
    again = account.lease()
    again.record = record
    assert again.release(maybe_created=True).gone
    assert account.names() == set()


def test_a_recorded_bucket_that_was_never_made_is_no_obstacle(account: Account) -> None:
    lease = account.lease()
    lease.record_bucket(Bucket(name="never-made", region=REGION))
    assert lease.release().gone


def test_a_recorded_bucket_with_the_labels_of_an_organisation_alone_is_not_proved_gone(account: Account) -> None:
    """The maker died before the lease's label, and the account labels each new bucket by itself."""
    own = account.lease()
    own.record_bucket(account.make("taken", labelled=False))
    account.s3.put_bucket_tagging(Bucket="taken", Tagging={"TagSet": [{"Key": "cost-centre", "Value": "7"}]})
    release = own.release()
    assert account.names() == {"taken"}
    assert not release.gone
    assert "has no label of a lease" in str(release.asked[-1].error)


@pytest.mark.parametrize(("lease", "labelled"), [("cvl-another-00000000", True), (OURS.name, False)])
def test_a_bucket_of_another_is_never_touched(account: Account, lease: str, labelled: bool) -> None:
    """The name was taken between SkyPilot's look and our request, or the maker died before the label."""
    own = account.lease()
    own.record_bucket(account.make("taken", lease=lease, labelled=labelled))
    release = own.release()
    assert account.names() == {"taken"}
    assert release.gone is labelled  # without any label only a person can tell whose it is
    assert labelled or "has no label" in str(release.asked[-1].error)


def test_no_answer_is_no_proof(account: Account) -> None:
    lease = account.lease()
    lease.record_bucket(account.make("temporary"))

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetBucketTagging")

    account.s3.meta.events.register("before-call.s3.GetBucketTagging", refuse)
    release = lease.release()
    assert not release.gone
    assert account.names() == {"temporary"}


def test_a_sweep_finds_buckets_by_their_label_and_ends_those_that_may_go(account: Account) -> None:
    account.make("temporary")
    account.make("checkpoints", stays=True)
    account.make("plain", labelled=False)
    ec2 = ec2_clients(access_key_id="testing", secret_access_key="testing")
    inventory = AwsInventory(client=ec2, regions=lambda: [REGION, "us-west-2"], buckets=account.buckets)
    answer = inventory.find(lease=None, locations=[Location(cloud="aws")])
    result = {(one.id, one.region, one.kind, one.stays) for one in answer.read()[0]}
    assert result == {
        ("temporary", REGION, ResourceKind.BUCKET, False),
        ("checkpoints", REGION, ResourceKind.BUCKET, True),
    }
    assert "buckets" in answer.asked[0].kinds
    inventory.remove([one for one in answer.read()[0] if one.is_leftover])
    assert account.names() == {"checkpoints", "plain"}


def _refuse(account: Account, service: str, operation: str, *, code: str, regions: tuple[str, ...]) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    for region in regions:
        events = account.clients("resourcegroupstaggingapi" if service != "s3" else "s3", region).meta.events
        events.register(f"before-call.{service}.{operation}", refuse)


@pytest.mark.parametrize(
    ("service", "operation", "code", "words"),
    [
        ("resource-groups-tagging-api", "GetResources", "AccessDeniedException", "permission tag:GetResources"),
        ("s3", "GetBucketTagging", "AccessDenied", "permission s3:GetBucketTagging"),
        ("resource-groups-tagging-api", "GetResources", "ThrottlingException", "Throttling"),
    ],
)
def test_a_sweep_that_may_not_list_buckets_proves_nothing_about_them_and_still_finds_machines(
    account: Account, service: str, operation: str, code: str, words: str
) -> None:
    account.make("temporary")
    regions = (REGION, "us-west-2")
    _refuse(account, service, operation, code=code, regions=regions)
    ec2 = ec2_clients(access_key_id="testing", secret_access_key="testing")
    volume = ec2(REGION).create_volume(
        AvailabilityZone=f"{REGION}a",
        Size=1,
        TagSpecifications=[
            {"ResourceType": "volume", "Tags": [{"Key": "cvl-ci-lease", "Value": OURS.name}]},
        ],
    )
    inventory = AwsInventory(client=ec2, regions=lambda: regions, buckets=account.buckets)

    answer = inventory.find(lease=None, locations=[Location(cloud="aws")])

    resources, silent = answer.read()
    assert [one.id for one in resources] == [volume["VolumeId"]], "a machine is ended all the same"
    assert len(silent) == 1 and words in silent[0]
    assert not answer.asked[-1].clean and not answer.asked[-1].skipped
    if code != "ThrottlingException":
        assert "could not look for the buckets of killed runs" in text.answer(answer.asked[-1])


def test_a_reap_that_may_not_list_buckets_exits_red_and_names_the_permission(account: Account) -> None:
    _refuse(account, "resource-groups-tagging-api", "GetResources", code="AccessDeniedException", regions=(REGION,))
    ec2 = ec2_clients(access_key_id="testing", secret_access_key="testing")
    inventory = AwsInventory(client=ec2, regions=lambda: [REGION], buckets=account.buckets)
    answer = inventory.find(lease=None, locations=[Location(cloud="aws")])
    reaped = Reaped(at=0.0, asked_at=0.0, dry_run=False, checks=answer.asked, silent=answer.read()[1])
    error = verdict(reaped)
    assert isinstance(error, NotProvedGone)
    assert "tag:GetResources" in error.what and "bucket" in error.what


class OpenAccount:
    """The account as the Clouds port: EC2 and S3 are emulated, and SkyPilot knows nothing."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @contextmanager
    def open(self, locations: object, *, user_id: str, watch: object) -> Iterator[Cloud]:
        account = self._account
        engine = FakeEngine(account.cloud)
        ec2 = ec2_clients(access_key_id="testing", secret_access_key="testing")
        inventory = AwsInventory(client=ec2, regions=lambda: [REGION, "us-west-2"], buckets=account.buckets)
        yield Cloud(machines=engine, jobs=engine, inventory=inventory, storage=account.buckets)


def down_from_another_computer(account: Account, *names: str, place: str = "aws") -> Downed:
    assert not list(account.records.all())
    ports = DownPorts(
        clouds=OpenAccount(account), records=account.records, reporter=FakeReporter(), clock=account.clock
    )
    return down(names, everything=not names, locations=[Location.parse(place)], user_id="u", ports=ports)


def refuse_labels(account: Account, code: str) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "GetResources")

    for region in (REGION, "us-west-2"):
        tagging = account.clients("resourcegroupstaggingapi", region)
        tagging.meta.events.register("before-call.resource-groups-tagging-api.GetResources", refuse)


@pytest.mark.parametrize("place", ["aws", "aws/us-west-2"])
def test_without_the_record_a_lease_s_buckets_are_found_by_label_in_all_regions(account: Account, place: str) -> None:
    account.make("temporary")
    account.make("checkpoints", stays=True)
    account.make("another", lease="cvl-another-00000000")

    downed = down_from_another_computer(account, OURS.name, place=place)

    assert downed.proved
    assert account.names() == {"checkpoints", "another"}
    assert [one.bucket.name for one in downed.releases[OURS.name].buckets] == ["checkpoints"]


@pytest.mark.parametrize("code", ["AccessDeniedException", "InternalServiceException"])
def test_without_the_record_and_without_an_answer_no_bucket_is_proved_gone(account: Account, code: str) -> None:
    account.make("temporary")
    refuse_labels(account, code)

    downed = down_from_another_computer(account, OURS.name)

    assert not downed.proved
    assert not downed.releases[OURS.name].gone
    assert "NOT PROVED GONE" in "\n".join(down_text.lines(downed, locations=[Location(cloud="aws")]))
    assert account.names() == {"temporary"}


def _machine(account: Account, *, marked: bool) -> None:
    """A machine that another computer's run launched. `marked`: that run could make no bucket."""
    labels = {**OURS.labels(deadline=time.time() + 60), **({LABEL_BUCKETS: NO_BUCKETS} if marked else {})}
    ec2 = ec2_clients(access_key_id="testing", secret_access_key="testing")(REGION)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    tags: Any = [{"Key": key, "Value": value} for key, value in labels.items()]
    ec2.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}]
    )


@pytest.mark.parametrize("marked", [True, False])
def test_a_run_that_could_make_no_bucket_needs_no_answer_about_buckets(account: Account, marked: bool) -> None:
    """A run on another cloud has no AWS credentials. Its machines carry the mark, which lives as long as they do."""
    _machine(account, marked=marked)
    refuse_labels(account, "AccessDeniedException")

    downed = down_from_another_computer(account, OURS.name)

    assert downed.proved is marked
    assert downed.releases[OURS.name].gone is marked


def test_a_denied_right_ends_a_sweep_at_once_and_leaves_it_without_proof(account: Account) -> None:
    _refuse(account, "resource-groups-tagging-api", "GetResources", code="AccessDeniedException", regions=(REGION,))
    _machine(account, marked=True)
    ec2 = ec2_clients(access_key_id="testing", secret_access_key="testing")
    inventory = AwsInventory(client=ec2, regions=lambda: [REGION], buckets=account.buckets)
    locations = [Location(cloud="aws")]
    start = account.clock.monotonic()
    machines = [one for one in inventory.find(lease=None, locations=locations).read()[0] if one.is_leftover]
    assert machines

    answer = sweep(machines, inventory=inventory, locations=locations, clock=account.clock, say=account.said.append)

    assert account.clock.monotonic() - start < PROOF_SECONDS / 3
    assert not answer.read()[0]
    assert "tag:GetResources" in answer.read()[1][0]
    assert not all(check.clean for check in answer.asked)


def test_down_of_everything_ends_a_lease_that_has_only_buckets(account: Account) -> None:
    account.make("temporary")
    account.make("temporary-too")

    downed = down_from_another_computer(account)

    assert downed.proved
    assert downed.releases.keys() == {OURS.name}
    assert account.names() == set()


def test_down_of_everything_proves_nothing_about_buckets_that_it_may_not_list(account: Account) -> None:
    account.make("temporary")
    refuse_labels(account, "AccessDeniedException")

    downed = down_from_another_computer(account)

    assert not downed.proved
    assert "Add the permission tag:GetResources" in downed.silent[0]
    assert account.names() == {"temporary"}


@pytest.mark.parametrize("operation", ["AbortMultipartUpload", "DeleteObjects"])
def test_the_removal_of_a_large_bucket_stops_in_time_and_the_next_attempt_goes_on(
    account: Account, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Pages of one file: each request takes 20 of the 30 seconds that all buckets of an attempt have together."""
    buckets = AwsBuckets(clients=account.clients, clock=account.clock.monotonic)
    names = ("large", "other")
    result = buckets.find([account.make(name) for name in names], lease=OURS.name)
    for number in range(5):
        if operation == "AbortMultipartUpload":
            account.s3.create_multipart_upload(Bucket="large", Key=f"half-{number}")
        else:
            account.s3.put_object(Bucket="large", Key=f"file-{number}", Body=b"1")
    requests: list[str] = []

    def slow(**_: Any) -> None:
        requests.append(operation)
        account.clock.sleep(20)

    account.s3.meta.events.register(f"before-call.s3.{operation}", slow)
    _in_pages_of_one(account, monkeypatch)

    with pytest.raises(EngineError, match="more content than one attempt") as stopped:
        buckets.remove(result.read()[0])

    assert len(requests) <= 2, "one of each bucket"
    assert "large" in stopped.value.what
    assert result.patience_seconds > PROOF_SECONDS, "a release without hurry goes on with a large bucket"
    attempts = 1
    while names_left := account.names():
        attempts += 1
        assert attempts < 10
        with suppress(EngineError):
            buckets.remove([one for one in result.read()[0] if one.id in names_left])


def test_a_size_that_takes_too_long_is_the_least(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = AwsBuckets(clients=account.clients, clock=account.clock.monotonic)
    bucket = account.make("checkpoints", stays=True)
    for number in range(3):
        account.s3.put_object(Bucket="checkpoints", Key=f"file-{number}", Body=b"1")
    account.s3.meta.events.register("before-call.s3.ListObjectsV2", lambda **_: account.clock.sleep(15))
    _in_pages_of_one(account, monkeypatch)
    size = buckets.size(bucket)
    assert (size.files, size.is_complete) == (2, False)


def _in_pages_of_one(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    paginator = account.s3.get_paginator

    def small(operation: str) -> Any:
        pages = paginator(operation)
        paginate = pages.paginate
        pages.paginate = lambda **question: paginate(**question, PaginationConfig={"PageSize": 1})
        return pages

    monkeypatch.setattr(account.s3, "get_paginator", small)


def test_the_sources_of_mounts_are_looked_at_before_anything_is_spent(account: Account) -> None:
    account.make("weights")
    account.s3.put_object(Bucket="weights", Key="a2/b", Body=b"1")
    lines: list[str] = []

    def require(text: str, **entries: Any) -> None:
        plan = RunPlan(
            title="t",
            files=FilePlan(mounts=mounts.read(text)),
            work=WorkPlan(task_extra={"file_mounts": {f"/{name}": value for name, value in entries.items()}}),
        )
        mount_sources.require(plan, account.buckets, lines.append)

    require("/a=s3://weights/a\n/new=s3://weights/none:cached", t="s3://weights", here="folder")
    assert lines == [
        "/a has 1 file, 5 B, in s3://weights/a.",
        "/new has 0 files, 0 B, in s3://weights/none.",
        "/t has 2 files, 6 B, in s3://weights.",
    ]
    with pytest.raises(RequestError) as wrong:
        require("/a=s3://nowhere/a\n/b=s3://weights/none", c={"source": "s3://absent", "mode": "MOUNT_CACHED"})
    assert [mistake.problem.split(":")[0] for mistake in wrong.value.mistakes] == [
        "names a bucket that does not exist",
        "names no file",
        "names a bucket that does not exist",
    ]

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectsV2")

    account.s3.meta.events.register("before-call.s3.ListObjectsV2", refuse)
    require("/a=s3://weights/a")
    assert lines[-1].startswith("/a: its size is not known here. S3 did not list s3://weights/a: ")


def test_a_refused_end_names_the_bucket_and_the_money(account: Account) -> None:
    bucket = account.make("temporary")
    [resource] = account.buckets.find([bucket], lease=OURS.name).read()[0]

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "DeleteBucket")

    account.s3.meta.events.register("before-call.s3.DeleteBucket", refuse)
    with pytest.raises(EngineError, match="temporary") as refused:
        account.buckets.remove([resource])
    assert "billed" in str(refused.value.money)


def test_the_place_of_results_is_looked_at_before_anything_is_spent(account: Account) -> None:
    account.make("results")
    warnings: list[str] = []
    for place in (None, BucketAddress(bucket="results", prefix="ci/cvl-1")):
        mount_sources.require_results(place, account.buckets, warnings.append)
    assert warnings == []
    with pytest.raises(RequestError, match=r"resluts.*names a bucket that does not exist"):
        mount_sources.require_results(BucketAddress(bucket="resluts", prefix="ci"), account.buckets, warnings.append)


def test_a_runner_without_a_right_to_look_at_the_results_warns(account: Account) -> None:
    _refuse(account, "s3", "ListObjectsV2", code="AccessDenied", regions=(REGION,))
    warnings: list[str] = []
    place = BucketAddress(bucket="resluts", prefix="ci")
    mount_sources.require_results(place, account.buckets, warnings.append)
    assert len(warnings) == 1 and "The machine tries it before the job" in warnings[0]
