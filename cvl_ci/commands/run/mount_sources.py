"""Look at the buckets of mounts, models and results before a machine exists. Tell sizes. A wrong name costs nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic

from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.inputs import bucket_address
from cvl_ci.model.bucket import HUB, BucketAddress
from cvl_ci.model.mount import MountMode
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.storage import StoredBytes
from cvl_ci.planning.storage_rules import file_mounts
from cvl_ci.ports import BucketContents, OpenHub, Storage
from cvl_ci.result.units import size

SECONDS = 5.0
"""For the list of one mount; a longer list gives its least size."""
ALL_SECONDS = 15.0
"""For all lists together. The list of a store that is busy, or that a login delays, can wait longer than its bound."""
AT_ONCE = 10
"""Lists at a time: a slow store keeps no other one waiting."""
CACHE = "hf_cache"
"""The input that names the bucket of models. A machine would pass over a bucket that does not exist."""
TOKEN = "HF_TOKEN"  # noqa: S105  a name
"""The job's own secret, with which the machines read the hub: engine/worker/store_keys.py."""

Ask = Callable[[BucketAddress], StoredBytes | None]
Answer = StoredBytes | InputProblem | str | None
"""None: the bucket does not exist. InputProblem: the store says why it has nothing there. Text: no answer."""


def require(
    plan: RunPlan, contents: BucketContents | None, tell: Callable[[str], None], *, hub: OpenHub | None = None
) -> None:
    """Tell the size of each mount from a bucket. Raise RequestError for a missing bucket, or for nothing to copy.

    A bucket that does not answer here may answer the machines, whose rights are others. So silence is a line only.
    """
    if contents is None:
        return
    mistakes = []
    sources = list(_addresses(plan))
    answers = _answers(_ask_of(plan, contents, hub), [address for _, _, address, _ in sources])
    for (field, target, address, is_copy), answer in zip(sources, answers, strict=True):
        if problem := _problem(answer, address, is_copy=is_copy):
            value = f"{target}={address}" if target != CACHE else str(address)
            mistakes.append(InputProblem(field=field, value=value, problem=problem))
        elif isinstance(answer, StoredBytes) and (answer.files or answer.is_complete):
            least = "" if answer.is_complete else "at least "
            files = f"{answer.files} file{'' if answer.files == 1 else 's'}"
            tell(f"{target} has {least}{files}, {size(answer.bytes)}, in {address}.")
        else:
            why = answer if isinstance(answer, str) else f"The list of {address} takes too long."
            tell(f"{target}: its size is not known here. {why}")
    if mistakes:
        raise RequestError(mistakes)


def require_results(place: BucketAddress | None, storage: Storage | None, warn: Callable[[str], None]) -> None:
    """Raise RequestError if the bucket of a detached run's results does not exist. `place`: the folder of this run.

    This computer itself may have no right to look: the machine tries the place before the job.
    """
    if place is None or storage is None:
        return
    [content] = _answers(lambda address: storage.content(address, seconds=SECONDS), [place])
    if isinstance(content, str):
        warn(f"This computer cannot look at the bucket of the results. The machine tries it before the job. {content}")
    elif content is None:
        problem = "names a bucket that does not exist"
        raise RequestError([InputProblem(field="detach_to", value=f"s3://{place.bucket}", problem=problem)])


def _problem(answer: Answer, address: BucketAddress, *, is_copy: bool) -> str:
    """Return the problem of a mount; empty for none, and where the store gave no answer."""
    if answer is None:
        return "names a bucket that does not exist"
    if isinstance(answer, InputProblem):
        return answer.problem
    is_empty = isinstance(answer, StoredBytes) and not answer.files and answer.is_complete
    if is_empty and is_copy:
        return "names no file: there is nothing to copy"
    # A job can write the first files below a prefix of a bucket. It writes nothing to a repository of the hub.
    return "names no file of the repository" if is_empty and address.scheme == HUB else ""


def _ask_of(plan: RunPlan, contents: BucketContents, hub: OpenHub | None) -> Ask:
    """Return the question about one address. The hub answers what the machines of this plan may read."""
    secret = plan.variables.secrets.get(TOKEN)
    token = secret.reveal() if secret is not None else ""

    def ask(address: BucketAddress) -> StoredBytes | None:
        stores = hub(token) if hub is not None and address.scheme == HUB else contents
        return stores.content(address, seconds=SECONDS)

    return ask


def _answers(ask: Ask, addresses: Sequence[BucketAddress]) -> list[Answer]:
    """Return the answer about each address. Without one in ALL_SECONDS, it is a text that says so."""
    late = f"It did not answer within {ALL_SECONDS:.0f} s."
    answers: list[Answer] = [late] * len(addresses)
    waiting = iter(range(len(addresses)))
    ready: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            ready.put((number, _answer(ask, addresses[number])))

    for _ in range(min(AT_ONCE, len(addresses))):
        threading.Thread(target=work, daemon=True, name="bucket-contents").start()
    until = monotonic() + ALL_SECONDS
    for _ in addresses:
        try:
            number, answer = ready.get(timeout=max(0.0, until - monotonic()))
        except queue.Empty:
            break
        answers[number] = answer
    return answers


def _answer(ask: Ask, address: BucketAddress) -> Answer:
    try:
        return ask(address)
    except RequestError as error:
        return error.mistakes[0]
    except CvlError as error:
        return error.what
    except Exception as error:  # noqa: BLE001  a cloud's library raises many kinds, and silence ends no run
        return f"{type(error).__name__}: {error}"[:300]


def _addresses(plan: RunPlan) -> Iterator[tuple[str, str, BucketAddress, bool]]:
    """Yield field, path, address, and whether all files are copied."""
    if plan.models.cache is not None:
        yield CACHE, CACHE, plan.models.cache, False
    for mount in plan.files.mounts:
        if address := bucket_address.read_any(mount.source):
            yield "mounts", mount.target, address, mount.mode is MountMode.COPY
    for target, entry in file_mounts(plan).items():
        source = entry.get("source") if isinstance(entry, Mapping) else entry
        if address := bucket_address.read_any(source):
            is_copy = not isinstance(entry, Mapping) or str(entry.get("mode")).upper() == "COPY"
            yield "file_mounts", target, address, is_copy
