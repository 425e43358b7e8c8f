"""The state that main hands to post: saved, read again, and read from what an earlier version or a stranger wrote."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cvl_ci.action.state import SavedEnding, SavedState, StepState, as_text, load
from cvl_ci.model.launch import Attempt, Spending
from cvl_ci.model.work_identity import WorkIdentity

ATTEMPT = Attempt(
    cloud="aws",
    region="us-east-1",
    zone=None,
    instance_type="g6.xlarge",
    spot=True,
    hourly_usd=0.25,
    requested_at=1_789_999_900.5,
    machines=2,
)

FULL = StepState(
    lease="cvl-1",
    leg='{"gpu": "L4"}',
    work=WorkIdentity(title="digits train", example="digits", preset="train", image="torch"),
    spending=Spending(attempts=(ATTEMPT, replace(ATTEMPT, error="full", ended_at=3.0)), nodes=2, billed=False),
    end=SavedEnding(ending="failed", reason="exit code 7", exit_code=7),
    done=True,
    kept_until="2026-09-21T12:00:00Z",
    artifacts={"files": ("cvl-train", "https://github.com/cvl/ci/actions/runs/1/artifacts/2")},
)

EARLIER = {
    "lease": "cvl-1",
    "leg": '{"gpu": "L4"}',
    "title": "digits train",
    "example": "digits",
    "preset": "train",
    "image": "torch",
    "done": True,
    "since": 1_789_999_900.5,
    "hourly_usd": 0.25,
    "billed": False,
    "ending": "failed",
    "reason": "exit code 7",
    "exit_code": 7,
    "kept_until": "2026-09-21T12:00:00Z",
    "artifacts": {"files": ["cvl-train", "https://github.com/cvl/ci/actions/runs/1/artifacts/2"]},
}
"""The same state in the words of the version that had no groups."""


def read(text: str) -> StepState | None:
    return load(Path("/nonexistent/state"), else_from=text)


def test_post_reads_what_main_saved_from_the_file_and_from_the_runner(tmp_path: Path) -> None:
    told: list[str] = []
    SavedState(tmp_path / "state", FULL, tell_runner=told.append).update()
    assert load(tmp_path / "state") == read(told[0]) == read(as_text(FULL)) == FULL


def test_a_state_of_the_version_without_groups_is_read() -> None:
    assert read(json.dumps(EARLIER)) == replace(FULL, spending=Spending()), "its money had no attempts"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "{}", '{"lease": ""}', "[" * 100_000])
def test_what_is_no_state_is_none(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "change",
    [
        {"end": {"ending": "flew away", "exit_code": 3}},
        {"end": ["failed"], "work": 7, "spending": None, "artifacts": []},
        {"spending": {"nodes": "two", "disk_gb": True, "billed": 0, "attempts": [1, {}, {"cloud": "aws"}]}},
        {"spending": {"attempts": [{**asdict(ATTEMPT), "hourly_usd": "1"}, {**asdict(ATTEMPT), "more": 1}]}},
        {"work": {"title": None, "unknown": 1}},
        {"artifacts": {"files": ["one"], "log": "x"}, "of_a_later_version": {"a": 1}},
    ],
)
def test_a_value_of_another_type_leaves_its_default(change: dict[str, object]) -> None:
    assert read(json.dumps({"lease": "cvl-1", **change})) == StepState(lease="cvl-1")
