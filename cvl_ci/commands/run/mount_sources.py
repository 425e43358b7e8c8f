"""Look at the buckets of mounts and results before a machine exists: a wrong name then costs nothing. Tell sizes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.inputs import bucket_address
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.mount import MountMode
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.storage import StoredBytes
from cvl_ci.planning.storage_rules import file_mounts
from cvl_ci.ports import BucketContents, Storage
from cvl_ci.result.units import size

SECONDS = 5.0
"""For the list of one mount; a longer list gives its least size."""
ALL_SECONDS = 15.0
"""For all lists together. The list of a store that is busy, or that a login delays, can wait longer than its bound."""
MOST = 10
"""Mounts that are looked at."""


def require(plan: RunPlan, stores: BucketContents | None, tell: Callable[[str], None]) -> None:
    """Tell the size of each mount from a bucket. Raise RequestError for a missing bucket, or for nothing to copy.

    A bucket that does not answer here may answer the machines, whose rights are others. So silence is a line only.
    """
    if stores is None:
        return
    mistakes = []
    sources = list(_addresses(plan))[:MOST]
    contents = _contents(stores, [address for _, _, address, _ in sources])
    for (field, target, address, is_copy), content in zip(sources, contents, strict=True):
        if isinstance(content, str):
            tell(f"{target}: its size is not known here. {content}")
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
    [content] = _contents(storage, [place])
    if isinstance(content, str):
        warn(f"This computer cannot look at the bucket of the results. The machine tries it before the job. {content}")
        return
    if content is None:
        problem = "names a bucket that does not exist"
        raise RequestError([InputProblem(field="detach_to", value=f"s3://{place.bucket}", problem=problem)])


def _contents(stores: BucketContents, addresses: Sequence[BucketAddress]) -> list[StoredBytes | str | None]:
    """Return each content: None for a missing bucket, and a text for no answer within ALL_SECONDS."""
    answers: list[StoredBytes | str | None] = []

    def work() -> None:
        for address in addresses:
            try:
                answers.append(stores.content(address, seconds=SECONDS))
            except CvlError as error:
                answers.append(error.what)
            except Exception as error:  # noqa: BLE001  a cloud's library raises many kinds, and silence ends no run
                answers.append(f"{type(error).__name__}: {error}"[:300])

    thread = threading.Thread(target=work, daemon=True, name="bucket-contents")
    thread.start()
    thread.join(ALL_SECONDS)
    in_time = list(answers)
    late = f"It did not answer within {ALL_SECONDS:.0f} s."
    return [*in_time, *[late] * (len(addresses) - len(in_time))]


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
