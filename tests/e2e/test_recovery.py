"""A spot machine that is taken twice, and a person who reads `succeeded`: on the real engine and the emulated EC2."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cvl_ci.sandbox import Faults
from tests.e2e.conftest import Terminal

JOB = (
    'echo "machine $CVL_ATTEMPT of $SKYPILOT_TASK_ID in $(hostname)"; '
    '[ "$CVL_ATTEMPT" = 3 ] || sleep 900; echo "$CVL_ATTEMPT" > attempt.txt'
)


@contextmanager
def generations(terminal: Terminal) -> Iterator[list[frozenset[str]]]:
    """Yield the sets of machines that the emulated EC2 showed alive together, in their order."""
    seen: list[frozenset[str]] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            alive = frozenset(terminal.machines())
            if not seen or seen[-1] != alive:
                seen.append(alive)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()


@pytest.mark.minutes(10)
def test_a_machine_that_is_taken_twice_is_replaced_twice_and_never_stands_next_to_its_successor(
    terminal: Terminal,
) -> None:
    taken: list[str] = []

    def take(line: str) -> bool:
        if line.rstrip().endswith("] running") and len(taken) < 2:
            [machine] = terminal.machines()
            if taken:  # the second time its zone has no spot machine left
                [zone] = [one.zone for one in terminal.sandbox.status().instances if one.id == machine]
                terminal.sandbox.set_faults(Faults(no_spot_capacity=(zone,)))
            terminal.sandbox.interrupt(machine, notice_seconds=0.5)
            taken.append(machine)
        return False

    with generations(terminal) as seen:
        ran = terminal.run("--command", JOB, "--spot", "true", "--recover", "3", "--max-runtime", "30m", stop=take)
    assert (ran.code, ran.summary["ending"]) == (0, "succeeded"), ran.err
    assert len(taken) == 2
    assert all(len(alive) <= 1 for alive in seen), "two generations of machines at once"
    one_after_the_other = [next(iter(alive)) for alive in seen if alive]
    assert one_after_the_other[:2] == taken and len(set(one_after_the_other)) == 3
    lines = [line for line in ran.out.splitlines() if line.startswith("machine ")]
    assert [line.split()[1] for line in lines] == ["1", "2", "3"]
    assert len({line.split()[3] for line in lines}) == 1, "SKYPILOT_TASK_ID is that of the whole run"
    assert (ran.folder / "attempt.txt").read_text() == "3\n"
    recoveries = ran.summary["recoveries"]
    assert [each["lost"] for each in recoveries] == ["preempted", "preempted"]
    assert all(each["resumed_at"] and each["gone_at"] and each["usd"] > 0 for each in recoveries)
    assert len([each for each in ran.summary["attempts"] if each["error"] is None]) == 1
    refused = [each["zone"] for each in ran.summary["attempts"] if each["error"] and not each["machines"]]
    assert len(refused) == len(set(refused)), "a refused place was asked again"
    assert ran.summary["released"]["gone"] is True
    assert terminal.machines() == []
    print(f"recovering took {ran.summary['phases']['recovering']:.0f} s for two losses")
