"""Look at the buckets of mounts and results before a machine exists: a wrong name then costs nothing. Tell sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.inputs import bucket_address
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.mount import MountMode
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.storage_rules import file_mounts
from cvl_ci.ports import BucketContents, Storage
from cvl_ci.result.units import size

SECONDS = 5.0
"""For the list of one mount; a longer list gives its least size."""
MOST = 10
"""Mounts that are looked at."""


def require(plan: RunPlan, stores: BucketContents | None, tell: Callable[[str], None]) -> None:
    """Tell the size of each mount from a bucket. Raise RequestError for a missing bucket, or for nothing to copy.

    A bucket that does not answer here may answer the machines, whose rights are others. So silence is a line only.
    """
    mistakes = []
    for field, target, address, is_copy in list(_addresses(plan))[:MOST] if stores is not None else ():
        try:
            content = stores.content(address, seconds=SECONDS) if stores is not None else None
        except CvlError as error:
            tell(f"{target}: its size is not known here. {error.what}")
            continue
        value = f"{target}={address}"
        if content is None:
            mistakes.append(InputProblem(field=field, value=value, problem="names a bucket that does not exist"))
        elif is_copy and not content.files and content.is_complete:
            mistakes.append(InputProblem(field=field, value=value, problem="names no file: there is nothing to copy"))
        else:
            least = "" if content.is_complete else "at least "
            files = f"{content.files} file{'' if content.files == 1 else 's'}"
            tell(f"{target} has {least}{files}, {size(content.bytes)}, in {address}.")
    if mistakes:
        raise RequestError(mistakes)


def require_results(place: BucketAddress | None, storage: Storage | None, warn: Callable[[str], None]) -> None:
    """Raise RequestError if the bucket of a detached run's results does not exist. `place`: the folder of this run.

    This computer itself may have no right to look: the machine tries the place before the job.
    """
    if place is None or storage is None:
        return
    try:
        content = storage.content(place, seconds=SECONDS)
    except CvlError as error:
        warn(
            f"This computer cannot look at the bucket of the results. The machine tries it before the job. {error.what}"
        )
        return
    if content is None:
        problem = "names a bucket that does not exist"
        raise RequestError([InputProblem(field="detach_to", value=f"s3://{place.bucket}", problem=problem)])


def _addresses(plan: RunPlan) -> Iterator[tuple[str, str, BucketAddress, bool]]:
    """Yield field, path, address, and whether all files are copied."""
    for mount in plan.files.mounts:
        if address := bucket_address.read_any(mount.source):
            yield "mounts", mount.target, address, mount.mode is MountMode.COPY
    for target, entry in file_mounts(plan).items():
        source = entry.get("source") if isinstance(entry, Mapping) else entry
        if address := bucket_address.read_any(source):
            is_copy = not isinstance(entry, Mapping) or str(entry.get("mode")).upper() == "COPY"
            yield "file_mounts", target, address, is_copy
