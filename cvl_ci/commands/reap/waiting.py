"""Tell which of the machines that stay after their runs still belong to this process alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from cvl_ci.model.lease_name import LABEL_REUSE, LABEL_REUSER, LABEL_SHARED, LABEL_USE, SHARED
from cvl_ci.model.reuse import UseMark, UseState, lock_name
from cvl_ci.ports import KeyLocks, Records
from cvl_ci.result.units import moment


@contextmanager
def free_machines(
    uses: Mapping[str, int], *, records: Records, locks: KeyLocks, say: Callable[[str], None]
) -> Iterator[list[str]]:
    """Yield the leases that may end now. Of each machine with a key, hold the lock meanwhile.

    `uses`: lease → the number of its last use by this process. A machine that another process uses, or has used since,
    is not among them: `say` gets a line about it.
    """
    with ExitStack() as stack:
        yield [
            name for name, number in uses.items() if _is_own(name, number, stack, records=records, locks=locks, say=say)
        ]


def _is_own(
    name: str, number: int, stack: ExitStack, *, records: Records, locks: KeyLocks, say: Callable[[str], None]
) -> bool:
    first = records.read(name)
    if first is None or not (key := first.labels.get(LABEL_REUSE)):
        return True
    if first.labels.get(LABEL_SHARED) == SHARED:
        say(
            f"A run on another computer may use machine {name} of reuse {key}, so it stays, and is billed. It ends "
            f"itself: unless a run uses it, by {moment(first.deadline)}. To end it now: cvl-ci down {name}"
        )
        return False
    lock = locks.acquire(lock_name(first.labels.get(LABEL_REUSER, ""), key))
    if lock is not None:
        stack.callback(lock.release)
    record = records.read(name) or first  # another process may have written it before it let the lock go
    if record.released_at is not None:
        return False
    mark = UseMark.parse(record.labels.get(LABEL_USE, ""))
    if lock is not None and mark is not None and mark.state is UseState.IDLE and mark.number == number:
        return True
    say(
        f"Another run uses machine {name} of reuse {key}, so it stays, and is billed. It ends itself by "
        f"{moment(record.deadline)}. To end it now: cvl-ci down {name}"
    )
    return False
