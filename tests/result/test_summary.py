"""The plain summary and its JSON say how a run ended, where it ran, what it cost and that nothing is left."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cvl_ci.model.node_end import GpuUse, NodeEnd
from cvl_ci.model.outcome import Ending, FetchedFile, Outcome
from cvl_ci.model.release import ProviderCheck
from cvl_ci.result.summary import lines, to_json
from cvl_ci.result.text import ENDINGS, answer
from tests import golden
from tests.result.outcomes import EVERY, FAILED, HOSTILE, KEPT, NO_CAPACITY, NOT_PROVED_GONE, NOTHING_ASKED, SUCCEEDED

MESSAGES = golden.Messages(__name__)


@pytest.mark.parametrize("name", EVERY)
def test_summary_reads_as_in_its_golden_file(name: str) -> None:
    golden.check(f"{name}.txt", "\n".join(lines(EVERY[name])) + "\n")


def test_every_ending_has_words() -> None:
    assert set(ENDINGS) == set(Ending)


def test_a_machine_that_may_run_comes_first() -> None:
    assert lines(NOT_PROVED_GONE)[0].startswith("A MACHINE MAY STILL BE RUNNING")


def test_a_machine_that_is_kept_is_no_alarm_and_its_way_in_can_be_copied_however_narrow() -> None:
    told = lines(KEPT, width=40)
    MESSAGES.check("a kept machine", told[0])
    assert any(line.strip() == "ssh ubuntu@203.0.113.7" for line in told)
    released = to_json(KEPT)["released"]
    assert isinstance(released, dict)
    assert (released["gone"], released["kept_until"]) == (False, "2026-09-21T14:23:20Z")
    assert released["ssh_commands"] == ["ssh ubuntu@203.0.113.7"]


def test_no_release_at_all_is_no_proof() -> None:
    assert lines(replace(SUCCEEDED, release=None))[0].startswith("A MACHINE MAY STILL BE RUNNING")


def test_nothing_from_the_machine_can_steer_the_terminal() -> None:
    text = "\n".join(lines(HOSTILE))
    assert not set(map(chr, [*range(0x0A), *range(0x0B, 0x20), *range(0x7F, 0xA0)])) & set(text)


def test_a_failed_job_keeps_its_own_code_when_a_machine_is_left() -> None:
    outcome = replace(FAILED, exit_code=79, release=NOT_PROVED_GONE.release)
    assert "the job failed with exit code 7" in lines(outcome)[0]


def test_a_long_list_says_how_many_more_there_are() -> None:
    files = tuple(FetchedFile(path=f"outputs/{number}", bytes=1) for number in range(40))
    assert any(
        "and 28 more" in line for line in lines(replace(SUCCEEDED, files=replace(SUCCEEDED.files, fetched=files)))
    )


def test_narrow_terminals_get_narrow_lines() -> None:
    assert max(map(len, lines(SUCCEEDED, width=50))) <= 50


KEYS = [
    "schema", "ending", "reason", "exit_code", "cluster", "title", "example", "preset", "image", "commit", "cloud",
    "region", "instance_type", "accelerators", "spot", "num_nodes", "service", "reuse", "turn", "driver", "attempts",
    "recoveries", "recovery_count",
    "phases",
    "duration_seconds",
    "estimated_usd", "cost_usd", "hourly_usd", "on_demand_hourly_usd", "billed", "ledger", "gpu", "machine_states",
    "files", "metrics",
    "samples", "comparison", "released",
]  # fmt: skip


@pytest.mark.parametrize("outcome", EVERY.values(), ids=EVERY)
def test_json_has_always_the_same_keys_and_only_what_json_knows(outcome: Outcome) -> None:
    data = to_json(outcome)
    assert list(data) == KEYS
    assert json.loads(json.dumps(data, allow_nan=False)) == data


ON_TWO_GPUS = replace(
    SUCCEEDED,
    machines=replace(
        SUCCEEDED.machines,
        nodes=(
            NodeEnd(
                rank=0,
                exit_code=0,
                gpu=GpuUse(gpus=1, memory_mib=15_030, memory_total_mib=23_034, utilization=60, utilization_peak=98),
            ),
            NodeEnd(
                rank=1, exit_code=0, gpu=GpuUse(gpus=1, memory_mib=400, memory_total_mib=23_034, driver="550.54.15")
            ),
        ),
    ),
)


def test_what_was_taken_of_the_gpus_is_told_of_all_nodes_together() -> None:
    MESSAGES.check("two GPUs", golden.line(lines(ON_TWO_GPUS), "GPU  "))
    data = to_json(ON_TWO_GPUS)
    assert data["driver"] == "550.54.15"
    assert data["gpu"] == {
        "gpus": 2,
        "memory_mib": 15_030,
        "memory_total_mib": 23_034,
        "utilization": 60.0,
        "utilization_peak": 98,
    }


def test_json_of_a_success() -> None:
    golden.check("succeeded.json", json.dumps(to_json(SUCCEEDED), indent=2) + "\n")


def test_json_keeps_every_attempt_and_its_error() -> None:
    data = to_json(NO_CAPACITY)
    assert [tried["error"] for tried in data["attempts"]] == [a.error for a in NO_CAPACITY.machines.attempts]  # type: ignore[attr-defined]


def test_json_says_what_is_proved_gone() -> None:
    assert [to_json(o)["released"]["gone"] for o in (SUCCEEDED, NOTHING_ASKED, NOT_PROVED_GONE)] == [True, True, False]  # type: ignore[index]


def test_the_receipt_says_whom_it_asked_about_what_and_what_was_not_looked_at() -> None:
    asked = ProviderCheck(
        provider="gcp",
        region="project p",
        kinds=("instances", "disks"),
        skipped=("addresses (these credentials may not)",),
    )
    MESSAGES.check("nothing left", answer(asked))
    assert answer(replace(asked, leftovers=("i-1 (running)",))) == "gcp project p still shows i-1 (running)"
    silent = answer(replace(asked, error="HTTP 401"))
    MESSAGES.check("no answer", silent)
