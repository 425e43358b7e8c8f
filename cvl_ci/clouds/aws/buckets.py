"""S3's own answer about the buckets that a run makes: proof for a release, work for a reaper.

Operations and error codes after the Amazon S3 API Reference. The list by label is that of the Resource Groups Tagging
API Reference (GetResources), which answers for one region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any

from cvl_ci.clouds import http
from cvl_ci.clouds.aws import checkpoints as stored_checkpoints
from cvl_ci.clouds.aws.clients import Clients
from cvl_ci.clouds.aws.queries import denied
from cvl_ci.clouds.contents import stored_bytes
from cvl_ci.errors import EngineError, RequestRefused
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import StoredCheckpoints
from cvl_ci.model.lease_name import LABEL_LEASE, LABEL_PERSISTENT
from cvl_ci.model.release import ProviderCheck
from cvl_ci.model.resource import Resource, ResourceKind
from cvl_ci.model.storage import Bucket, StoredBytes
from cvl_ci.ports import InventoryResult

KIND = "buckets"
KINDS = (KIND, "multipart uploads")
"""A bucket is removed with its unfinished uploads, so the absence of one proves the absence of the other."""
SIZED_SECONDS = 20.0
"""Seconds that a size may take: a release waits for it."""
REMOVAL_SECONDS = 30.0
"""Seconds for one attempt at all buckets of a release. The release repeats it until its own deadline."""
PATIENCE_SECONDS = 600.0
"""Seconds that a release without hurry gives the removal of many files."""
_ABSENT = {"NoSuchBucket", "404", "NotFound"}
_NO_LABELS = "NoSuchTagSet"
_PERMISSIONS = {"GetBucketTagging": "s3:GetBucketTagging", "GetBucketLocation": "s3:GetBucketLocation"}
"""IAM's names of the questions about one labelled bucket (AWS Service Authorization Reference, Amazon S3)."""


class AwsBuckets:
    """The Storage port for S3."""

    def __init__(
        self,
        *,
        clients: Clients,
        provider: str = "aws",
        region: str = "us-east-1",
        regions: Callable[[], Sequence[str]] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`regions` lists the account's regions, for a search by label. None: that search has no answer."""
        self._clients, self._provider, self._region = clients, provider, region
        self._regions, self._clock = regions, clock

    def find(self, buckets: Sequence[Bucket], *, lease: str) -> InventoryResult:
        answers = [self._ask(bucket, lease) for bucket in buckets]
        return InventoryResult(
            resources=[resource for resource, _ in answers if resource],
            asked=[check for _, check in answers],
            patience_seconds=PATIENCE_SECONDS if any(check.leftovers for _, check in answers) else 0.0,
        )

    def labelled_buckets(self, *, lease: str) -> tuple[Sequence[Bucket], InventoryResult]:
        if self._regions is None:
            return (), InventoryResult(unproved=[f"{self._provider}, for buckets of a lease without a record,"])
        try:
            with ThreadPoolExecutor(max_workers=8) as pool:
                answers = list(pool.map(lambda region: self.labelled(region, lease=lease), self._regions()))
        except Exception as error:  # noqa: BLE001  any error: no answer is not clean
            if _never_answers(error):
                why = f"{error}"[:200]
                return (), InventoryResult(unproved=[f"{self._provider}, for buckets of this lease ({why}),"])
            problem = f"buckets of this lease by label: {error}"[:300]
            return (), InventoryResult(asked=[self._search(error=problem)])
        resources = [resource for of_region in answers for resource in of_region]
        buckets = [Bucket(name=one.id, region=one.region, stays=one.stays) for one in resources]
        return buckets, InventoryResult(asked=[self._search()])

    def labelled(self, region: str, *, lease: str | None) -> list[Resource]:
        """Return the buckets of a region with the label of this lease, or of any. Raises without an answer."""
        label: dict[str, Any] = {"Key": LABEL_LEASE, **({"Values": [lease]} if lease else {})}
        question = {"ResourceTypeFilters": ["s3:bucket", "s3"], "TagFilters": [label]}
        names: dict[str, None] = {}
        for page in _pages(self._clients("resourcegroupstaggingapi", region), "get_resources", **question):
            names.update(
                dict.fromkeys(entry["ResourceARN"].rpartition(":")[2] for entry in page["ResourceTagMappingList"])
            )
        resources = []
        for name in names:
            labels = self._labels(name)  # the list of labels is late by some seconds; the bucket's own are not
            place = self._region_of(name) if labels else region
            if labels and LABEL_LEASE in labels and lease in (None, labels[LABEL_LEASE]) and place == region:
                resources.append(self._resource(name, region, labels))
        return resources

    def size(self, bucket: Bucket) -> StoredBytes:
        content = self.content(BucketAddress(bucket=bucket.name), seconds=SIZED_SECONDS)
        if content is None:
            raise EngineError(f"S3 did not list {bucket}: it does not exist")
        return content

    def content(self, address: BucketAddress, *, seconds: float) -> StoredBytes | None:
        until = self._clock() + seconds
        try:
            pages = self._s3().get_paginator("list_objects_v2")
            lists = pages.paginate(Bucket=address.bucket, Prefix=address.prefix)
            sizes = ({entry["Key"]: entry["Size"] for entry in page.get("Contents", [])} for page in lists)
            return stored_bytes(sizes, address, is_late=lambda: self._clock() > until)
        except Exception as error:
            if _code(error) in _ABSENT:
                return None
            raise EngineError(f"{address.scheme.upper()} did not list {address}: {error}"[:300]) from error

    def checkpoints(self, place: BucketAddress) -> StoredCheckpoints:
        until = self._clock() + SIZED_SECONDS
        try:
            return stored_checkpoints.read(self._s3(), place, is_late=lambda: self._clock() > until)
        except Exception as error:
            if _code(error) == "NoSuchBucket":
                raise RequestRefused(
                    f"The bucket {place.bucket} does not exist.",
                    next_step=f"Create it first, in the region of your machines: aws s3 mb s3://{place.bucket}",
                ) from error
            raise EngineError(f"S3 did not show {place}: {error}"[:300]) from error

    def end_uploads(self, place: BucketAddress) -> None:
        try:
            stored_checkpoints.end_uploads(self._s3(), place)
        except Exception as error:
            raise EngineError(f"S3 refused to end the uploads of {place}: {error}"[:300]) from error

    def remove(self, resources: Sequence[Resource]) -> None:
        problems, end = [], self._clock() + REMOVAL_SECONDS
        for number, resource in enumerate(resources):
            # Each bucket has its share, so that a large one does not keep the others waiting.
            until = self._clock() + (end - self._clock()) / (len(resources) - number)
            try:
                self._remove(resource.id, until=until)
            except Exception as error:  # noqa: BLE001  botocore makes its classes at run time, one per service
                if _code(error) not in _ABSENT:
                    problems.append(f"{resource.id}: {error}"[:300])
        if problems:
            raise EngineError(
                "S3 refused to remove our buckets: " + "; ".join(problems),
                money="Their content is still billed.",
                next_step="cvl-ci tries again until the deadline. After that, remove them by hand.",
            )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        for resource in resources:
            tags = [{"Key": key, "Value": value} for key, value in {**resource.labels, **labels}.items()]
            try:
                self._s3().put_bucket_tagging(Bucket=resource.id, Tagging={"TagSet": tags})
            except Exception as error:
                raise EngineError(f"S3 refused to label {resource.id}: {error}"[:300]) from error

    # ---- how -----------------------------------------------------------------------------------------------------

    def _s3(self) -> Any:
        return self._clients("s3", self._region)

    def _search(self, *, error: str | None = None) -> ProviderCheck:
        return ProviderCheck(provider=self._provider, region="", kinds=("buckets by label",), error=error)

    def _ask(self, bucket: Bucket, lease: str) -> tuple[Resource | None, ProviderCheck]:
        place, leftover, stays = bucket.region or self._region, "", ""
        resource, problem, is_final = None, None, False
        try:
            labels = self._labels(bucket.name)
            if labels is not None and labels.get(LABEL_LEASE) == lease:
                resource = self._resource(bucket.name, place, labels)
                leftover = "" if resource.stays else f"{bucket} (with its content)"
                stays = str(bucket) if resource.stays else ""
            elif labels is not None and LABEL_LEASE not in labels:
                # Its maker died between the two requests, or another person made it: only a person can tell.
                # An organisation may add labels of its own to each bucket, so those prove nothing.
                problem = f"{bucket} has no label of a lease, so cvl-ci does not touch it: look at it yourself"
        except Exception as error:  # noqa: BLE001  any error: no answer is not clean
            problem, is_final = f"{bucket}: {error}"[:300], _never_answers(error)
        check = ProviderCheck(
            provider=self._provider,
            region=place,
            kinds=KINDS,
            leftovers=(leftover,) if leftover else (),
            error=problem,
            stays=(stays,) if stays else (),
            is_final=is_final,
        )
        return resource, check

    def _labels(self, name: str) -> dict[str, str] | None:
        """Return the labels of a bucket; None for no bucket. Raises without an answer."""
        try:
            answer = self._s3().get_bucket_tagging(Bucket=name)
        except Exception as error:
            if _code(error) in _ABSENT:
                return None
            if _code(error) == _NO_LABELS:
                return {}
            raise
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def _region_of(self, name: str) -> str:
        return self._s3().get_bucket_location(Bucket=name).get("LocationConstraint") or "us-east-1"

    def _resource(self, name: str, region: str, labels: Mapping[str, str]) -> Resource:
        return Resource(
            provider=self._provider,
            region=region,
            kind=ResourceKind.BUCKET,
            id=name,
            state="exists",
            labels=labels,
            stays=LABEL_PERSISTENT in labels,
        )

    def _remove(self, name: str, *, until: float) -> None:
        """Remove a bucket, or a part of its content. Each attempt gets further than the one before."""
        s3 = self._s3()
        for uploads in _pages(s3, "list_multipart_uploads", Bucket=name):
            for upload in uploads.get("Uploads", []):
                s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
                self._in_time(until)
        for versions in _pages(s3, "list_object_versions", Bucket=name):
            entries = [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]
            keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            if keys:
                answer = s3.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
                if refused := answer.get("Errors"):
                    raise ValueError(f"{refused[0].get('Code')}: {refused[0].get('Message')}")
            self._in_time(until)
        s3.delete_bucket(Bucket=name)

    def _in_time(self, until: float) -> None:
        if self._clock() > until:
            raise TimeoutError("it has more content than one attempt may remove; the next attempt goes on")


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """The reason for no answer. `is_final`: a repetition cannot change it."""

    why: str
    is_final: bool


def labelled_or_unanswered(
    buckets: AwsBuckets, region: str, *, lease: str | None
) -> tuple[list[Resource], Unanswered | None]:
    """Return the labelled buckets of a region, or the reason why they are unknown. Silence proves nothing."""
    try:
        return buckets.labelled(region, lease=lease), None
    except Exception as error:  # noqa: BLE001  any error: no answer is not clean
        return [], Unanswered(why=_why_unanswered(error), is_final=_never_answers(error))


def _why_unanswered(error: Exception) -> str:
    if not denied(error):
        return f"{error}"[:300] or type(error).__name__
    permission = _PERMISSIONS.get(getattr(error, "operation_name", ""), "tag:GetResources")
    return (
        "cvl-ci could not look for the buckets of killed runs. Such a bucket stays, and is billed. "
        f"Add the permission {permission} to these credentials"
    )


def _never_answers(error: Exception) -> bool:
    """Return whether a repetition is useless: this computer has no client, no credentials or not the right."""
    return denied(error) or isinstance(error, ImportError) or type(error).__name__ == "NoCredentialsError"


def _code(error: Exception) -> str:
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, Mapping) else ""


def _pages(client: Any, operation: str, **question: Any) -> Iterator[Mapping[str, Any]]:
    from cvl_ci import bounded  # loads requests, which `cvl-ci check` does without

    until = monotonic() + bounded.LISTING_SECONDS
    for number, page in enumerate(client.get_paginator(operation).paginate(**question)):
        if operation == "get_resources" and (number >= http.PAGES or monotonic() > until):
            raise ValueError("the list of buckets has no last page, so this proves nothing")
        yield page
