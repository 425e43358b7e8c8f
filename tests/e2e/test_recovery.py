"""Training whose spot machine is taken twice, and a person who reads `succeeded`: real engine, emulated EC2 and S3."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cvl_ci.sandbox import Faults
from tests.e2e.cloud import eventually
from tests.e2e.conftest import Ran, Terminal
from tests.e2e.metering import assert_told_as_metered
from tests.e2e.test_storage import s3_of

EPOCHS = 40
JOB = (
    'echo "machine $CVL_ATTEMPT of $SKYPILOT_TASK_ID in $(hostname) from ${CVL_RESUME_FROM:-nothing}"; '
    'echo "$CVL_ATTEMPT" > attempt.txt; cd examples/tabular/digits_sgd; bash train.sh --epochs $EPOCHS --pause $PAUSE; '
    "sha256sum outputs/checkpoint.npz; mkdir ../undisturbed; cp *.py *.sh *.txt ../undisturbed; cd ../undisturbed; "
    "bash train.sh --epochs $EPOCHS; sha256sum outputs/checkpoint.npz"
)
"""Training, and the same training without a disturbance, on the last machine."""
CHECKPOINT = "examples/tabular/digits_sgd/outputs/checkpoint.npz"
PLACE = "s3://checkpoints/of/ci"


class Watcher:
    """The manifests that the bucket shows, in their order: why each was stored, and its time."""

    def __init__(self, terminal: Terminal) -> None:
        self.s3 = s3_of(terminal)
        self.s3.create_bucket(Bucket="checkpoints")
        self.manifests: list[dict[str, Any]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._is_over.wait(0.2):
            with suppress(BotoCoreError, ClientError):  # it is replaced or removed between list and answer
                self._note()

    def _note(self) -> None:
        for entry in self.s3.list_objects_v2(Bucket="checkpoints").get("Contents", []):
            if "/manifests/" in entry["Key"]:
                body = self.s3.get_object(Bucket="checkpoints", Key=entry["Key"])["Body"].read()
                manifest = {**json.loads(body), "key": entry["Key"]}
                if manifest not in self.manifests:
                    self.manifests.append(manifest)

    def wait_for_more(self, count: int) -> None:
        eventually(lambda: len(self.manifests) > count, within=120.0)

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()


@contextmanager
def generations(terminal: Terminal) -> Iterator[list[frozenset[str]]]:
    """Yield the sets of machines that the emulated EC2 showed alive together, in their order."""
    seen: list[frozenset[str]] = []
    is_over = threading.Event()

    def note_generations() -> None:
        while not is_over.wait(0.05):
            alive = frozenset(terminal.machines())
            if not seen or seen[-1] != alive:
                seen.append(alive)

    watcher = threading.Thread(target=note_generations)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()


class Taker:
    """The provider: it takes the machine twice, each time after a checkpoint. Only the first time it gives notice.

    The second machine is the last spot machine of its zone.
    """

    def __init__(self, terminal: Terminal, watcher: Watcher) -> None:
        self._terminal, self._watcher = terminal, watcher
        self._threads: list[threading.Thread] = []
        self.taken: list[str] = []

    def on_line(self, line: str) -> bool:
        if line.rstrip().endswith("] running") and len(self._threads) < 2:
            self._threads.append(threading.Thread(target=self._preempt))
            self._threads[-1].start()
        return False

    def _preempt(self) -> None:
        sandbox = self._terminal.sandbox
        self._watcher.wait_for_more(len(self._watcher.manifests))
        [machine] = self._terminal.machines()
        if self.taken:
            [zone] = [one.zone for one in sandbox.status().instances if one.id == machine]
            sandbox.set_faults(Faults(no_spot_capacity=(zone,)))
        sandbox.interrupt(machine, notice_seconds=0.2 if self.taken else 15.0)
        self.taken.append(machine)

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        self._terminal.sandbox.set_faults(Faults())


@pytest.mark.minutes(12)
def test_training_that_is_preempted_twice_goes_on_from_its_checkpoint_and_so_does_a_later_run(
    terminal: Terminal,
) -> None:
    watcher = Watcher(terminal)
    taker = Taker(terminal, watcher)
    words = [
        *("--command", JOB, "--spot", "true", "--gpu", "none", "--max-runtime", "30m", "--env", f"EPOCHS={EPOCHS}")
    ]
    words += ["--checkpoints", CHECKPOINT, "--checkpoint-to", PLACE, "--checkpoint-every", "10s"]
    with generations(terminal) as seen:
        ran = terminal.run(*words, "--env", "PAUSE=1", stop=taker.on_line)
    taker.close()
    watcher.close()
    assert (ran.code, ran.summary["ending"]) == (0, "succeeded"), ran.err + ran.out
    assert len(taker.taken) == 2
    assert_one_machine_at_a_time(seen, taker.taken)
    assert_told_to_the_job(ran)
    assert_told_of_the_losses(ran)
    assert "notice" in [manifest["reason"] for manifest in watcher.manifests]
    assert_checkpoints_are_in_the_receipt(ran, watcher)
    sums = sums_of(ran)
    assert len(sums) == 2 and len(set(sums)) == 1, "the weights are those of an undisturbed run"
    assert terminal.machines() == []
    case = "succeeded after two preemptions of spot machines"
    assert_told_as_metered(ran.summary, terminal.sandbox, case=case, taken=taker.taken)
    print(f"recovering took {ran.summary['phases']['recovering']:.0f} s for two losses")
    print([(manifest["reason"], manifest["at"]) for manifest in watcher.manifests])

    later = terminal.run(*words, "--env", "PAUSE=0", "--resume", "latest", "--recover", "1")
    assert later.code == 0, later.err + later.out
    assert f"epoch {EPOCHS} is done" in later.out
    assert sums_of(later)[0] == sums[0]


def test_a_machine_that_is_taken_before_it_has_the_job_is_a_loss_at_once(terminal: Terminal) -> None:
    """SkyPilot itself tries for ten minutes to reach such a machine. The provider shows the loss after seconds."""
    taken: list[str] = []

    def take(line: str) -> bool:
        if "nstance is up" in line and not taken:
            taken.extend(terminal.machines())
            terminal.sandbox.interrupt(taken[0], notice_seconds=0.0)
        return False

    ran = terminal.run("--command", "true", "--spot", "true", "--gpu", "none", stop=take)
    assert (ran.code, ran.summary["ending"]) == (75, "preempted"), ran.err + ran.out
    assert len(taken) == 1
    assert ran.summary["released"]["gone"] is True
    # sky/provision/provisioner.py, wait_for_ssh: so ends SkyPilot's own wait, whose length no busy computer changes.
    assert "after timeout" not in json.dumps(ran.summary) + ran.err
    assert ran.summary["phases"]["provisioning"] < 600, ran.summary["phases"]
    assert_told_as_metered(ran.summary, terminal.sandbox, case="preempted before it had the job", taken=taken)


def sums_of(ran: Ran) -> list[str]:
    return [line.split()[0] for line in ran.out.splitlines() if line.endswith("  outputs/checkpoint.npz")]


def assert_told_to_the_job(ran: Ran) -> None:
    lines = [line.split() for line in ran.out.splitlines() if line.startswith("machine ")]
    assert [line[1] for line in lines] == ["1", "2", "3"]
    assert len({line[3] for line in lines}) == 1, "SKYPILOT_TASK_ID is that of the whole run"
    assert lines[0][-1] == "nothing"
    assert all(line[-1].endswith(f"/sky_workdir/{CHECKPOINT}") for line in lines[1:])
    assert ran.out.count("resumed from checkpoint.npz") == 2
    assert (ran.folder / "attempt.txt").read_text() == "3\n"


def assert_told_of_the_losses(ran: Ran) -> None:
    recoveries = ran.summary["recoveries"]
    assert [each["lost"] for each in recoveries] == ["preempted", "preempted"]
    assert all(each["resumed_at"] and each["gone_at"] and each["usd"] > 0 for each in recoveries)
    assert {each["checkpoint"] for each in recoveries} == {CHECKPOINT}
    assert len([each for each in ran.summary["attempts"] if each["error"] is None]) == 1
    refused = [each["zone"] for each in ran.summary["attempts"] if each["error"] and not each["machines"]]
    assert len(refused) == len(set(refused)), "a refused place was asked again"
    assert ran.summary["released"]["gone"] is True


def assert_checkpoints_are_in_the_receipt(ran: Ran, watcher: Watcher) -> None:
    told = ran.summary["released"]["checkpoints"]
    objects = watcher.s3.list_objects_v2(Bucket="checkpoints")["Contents"]
    assert (told["files"], told["bytes"]) == (len(objects), sum(each["Size"] for each in objects))
    assert told["place"].startswith(PLACE) and told["newest"] == CHECKPOINT
    [entry] = [entry for entry in ran.summary["ledger"] if entry["kind"] == "bucket"]
    assert (entry["item"], entry["quantity"]) == (f"S3 Standard in {told['place']}", told["bytes"] / (1 << 30))
    assert entry["usd"] > 0 and "it stays" in entry["note"]
    assert f"{told['place']} stays with the run's checkpoints" in " ".join(ran.err.split())


def assert_one_machine_at_a_time(seen: Sequence[frozenset[str]], taken: Sequence[str]) -> None:
    assert all(len(alive) <= 1 for alive in seen), "two generations of machines at once"
    one_after_the_other = [next(iter(alive)) for alive in seen if alive]
    assert one_after_the_other[:2] == list(taken) and len(set(one_after_the_other)) == 3
