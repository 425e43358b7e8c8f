"""What is published comes small first, in one order, and whatever of it fails, all else is published still."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.commands.publish import LARGEST_LOG_FIRST, Files, PublishPorts, WorkflowFacts, publish
from cvl_ci.errors import ArtifactError
from cvl_ci.inputs.step_inputs import PublicationInputs
from cvl_ci.model.outcome import Ending, FetchedFile, Outcome
from cvl_ci.ports import Uploaded
from cvl_ci.result.benchmark.leg_file import read
from cvl_ci.result.report import Link
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import proved_gone
from tests import golden
from tests.result.outcomes import EVERY, FAILED, NOTHING_ASKED, ON_SANDBOX, SPOT_SAVING, SUCCEEDED
from tests.support.fakes import FakeArtifacts, FakePage, FakeReporter

MESSAGES = golden.Messages(__name__)

ALL = ["cvl-train-L4", "cvl-train-L4-checkpoints", "cvl-train-L4-log", "cvl-train-L4-cost"]
STUCK = ArtifactError("CreateArtifact failed 5 times: answer 503.", money="The files are still in the workspace.")


class House:
    def __init__(self, folder: Path) -> None:
        self.steps: list[str] = []
        self.artifacts = FakeArtifacts(at=self.steps.append)
        self.page = FakePage(at=self.steps.append)
        self.reporter = FakeReporter()
        self.uploaded: dict[str, Link] = {}
        self.folder = folder / "cvl-outputs" / "cvl-1"
        (self.folder / "outputs").mkdir(parents=True)
        (self.folder / "outputs" / "checkpoint.npz").write_text("weights")
        (self.folder / "outputs" / "metrics.json").write_text("{}")
        self.folder.with_name("cvl-1.log").write_text("epoch 1\n")

    def publish(self, outcome: Outcome = SUCCEEDED, **changed: Any) -> None:
        files = Files(**{"folder": self.folder, "name": "cvl-train-L4", **changed})
        ports = PublishPorts(
            artifacts=self.artifacts, page=self.page, reporter=self.reporter, uploaded=self.uploaded.__setitem__
        )
        publish(outcome, files=files, ports=ports)

    def publish_with(self, noted: Callable[[str, Link], None]) -> None:
        files = Files(folder=self.folder, name="cvl-train-L4")
        ports = PublishPorts(artifacts=self.artifacts, page=self.page, reporter=self.reporter, uploaded=noted)
        publish(SUCCEEDED, files=files, ports=ports)

    def cost(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.folder.with_name("cvl-1.json").read_text())
        return found

    def warnings(self) -> list[str]:
        return [each for each in self.reporter.said if each.startswith("warning: ")]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_small_and_dear_come_first_and_the_large_last(house: House) -> None:
    house.publish()
    assert house.steps == [
        "outputs",
        "comment",
        "upload cvl-train-L4-cost",
        "upload cvl-train-L4-log",
        "upload cvl-train-L4",
        "artifact outputs",
        "upload cvl-train-L4-checkpoints",
        "page",
        "comment",
    ]


@pytest.mark.parametrize("is_large", [False, True])
def test_the_cost_of_a_failed_job_names_the_artifact_with_its_log_unless_that_is_large(
    house: House, is_large: bool
) -> None:
    if is_large:
        os.truncate(house.folder.with_name("cvl-1.log"), LARGEST_LOG_FIRST + 1)
    house.publish(FAILED)
    uploads = [step for step in house.steps if step.startswith("upload")][:2]
    first = ["upload cvl-train-L4-log", "upload cvl-train-L4-cost"]
    assert uploads == (first[::-1] if is_large else first)
    told = json.loads(house.artifacts.contents["cvl-train-L4-cost"]["cvl-1.json"])
    assert bool(told["artifact_url"]) is not is_large
    if not is_large:
        assert told["artifact_url"].endswith("/artifacts/1")
        assert read(json.dumps(told).encode()).evidence.artifact_url == told["artifact_url"]


def test_files_checkpoints_log_and_cost_are_an_artifact_each(house: House) -> None:
    house.publish()
    assert set(house.artifacts.contents["cvl-train-L4-cost"]) == {"cvl-1.json"}
    assert set(house.artifacts.contents["cvl-train-L4-log"]) == {"cvl-1.log"}
    assert house.artifacts.contents["cvl-train-L4"] == {"outputs/metrics.json": "{}"}
    assert house.artifacts.contents["cvl-train-L4-checkpoints"] == {"outputs/checkpoint.npz": "weights"}
    assert house.page.comments == [[], ALL]
    assert house.page.pointers == [ALL]
    assert house.page.outputs["ending"] == "succeeded"
    assert house.page.outputs["artifact_id"] == "3"
    assert house.page.outputs["artifact_url"].endswith("/artifacts/3")


@pytest.mark.parametrize(
    ("globs", "chosen"),
    [
        (("*.json",), {"outputs/metrics.json"}),
        (("outputs/**", "!*.npz"), {"outputs/metrics.json"}),
        (("outputs",), {"outputs/checkpoint.npz", "outputs/metrics.json"}),
        (("*.bin",), None),
    ],
)
def test_the_input_checkpoints_chooses_the_files_of_the_checkpoint_artifact(
    house: House, globs: tuple[str, ...], chosen: set[str] | None
) -> None:
    house.publish(checkpoints=globs)
    every = {"outputs/checkpoint.npz", "outputs/metrics.json"}
    held = {name: set(files) for name, files in house.artifacts.contents.items()}
    assert held.get("cvl-train-L4-checkpoints") == chosen
    assert held.get("cvl-train-L4", set()) == every - (chosen or set())


def test_where_there_are_only_checkpoints_they_are_the_files(house: House) -> None:
    (house.folder / "outputs" / "metrics.json").unlink()
    house.publish()
    assert house.artifacts.contents["cvl-train-L4"] == {"outputs/checkpoint.npz": "weights"}
    assert "cvl-train-L4-checkpoints" not in house.artifacts.contents
    assert house.page.outputs["artifact_id"] == "3"


@pytest.mark.parametrize("outcome", EVERY.values(), ids=EVERY)
def test_the_cost_is_what_a_report_over_many_runs_needs_whatever_the_ending(house: House, outcome: Outcome) -> None:
    facts = WorkflowFacts(
        commit="a" * 40,
        leg="gpu: L4",
        run_url="https://github.com/cvl/ci/actions/runs/7/attempts/1",
        first_error="ValueError: x",
        last_lines=("a", "b"),
    )
    house.publish(outcome, facts=facts)
    told = house.cost()
    known = to_json(outcome, commit="a" * 40)
    assert {name: told[name] for name in known} == known
    assert set(told) - set(to_json(outcome)) == {
        "leg", "run_url", "job", "workflow", "check_run", "first_error", "is_sweep", "last_lines", "artifact_url",
        "warnings",
    }  # fmt: skip
    succeeded = outcome.ending is Ending.SUCCEEDED
    assert (told["first_error"], told["last_lines"]) == (("", []) if succeeded else ("ValueError: x", ["a", "b"]))
    assert told["schema"] == 1
    assert (told["schema"], told["leg"], told["title"]) == (1, "gpu: L4", outcome.work.title)


@pytest.mark.parametrize("outcome", EVERY.values(), ids=EVERY)
def test_a_report_reads_the_cost_that_a_run_writes(house: House, outcome: Outcome) -> None:
    told = replace(
        outcome,
        work=replace(outcome.work, example="digits", preset="train", image="torch"),
        measurements=replace(outcome.measurements, samples={"loss": (1.0, 2.0)}),
    )
    house.publish(told, facts=WorkflowFacts(leg="gpu: L4", commit="c" * 40))
    leg = read(json.dumps(house.cost()).encode())
    assert (leg.ending, leg.exit_code, leg.machines.cluster) == (
        outcome.ending,
        outcome.exit_code,
        outcome.machines.cluster,
    )
    assert (leg.key.example, leg.key.preset, leg.key.image, leg.source.commit) == ("digits", "train", "torch", "c" * 40)
    assert (leg.name, leg.measured("loss"), leg.machines.is_gone) == ("gpu: L4", (1.0, 2.0), proved_gone(outcome))
    assert bool(leg.source.at) is (outcome.release is not None)
    if outcome.machines.launch is not None:
        assert (leg.key.cloud, leg.machines.region) == (outcome.machines.launch.cloud, outcome.machines.launch.region)
        assert leg.cost.hourly_usd == (outcome.cost.hourly_usd if outcome.cost else None)


def test_what_spot_saved_can_be_computed_from_it_and_an_emulated_price_is_told_from_a_bill(house: House) -> None:
    house.publish(SPOT_SAVING)
    assert house.cost()["on_demand_hourly_usd"] > house.cost()["hourly_usd"]
    assert house.cost()["billed"] is True
    house.publish(ON_SANDBOX)
    assert house.cost()["billed"] is False


def test_a_run_that_fetched_nothing_has_its_cost_alone(house: House) -> None:
    shutil.rmtree(house.folder)
    house.folder.with_name("cvl-1.log").unlink()
    house.publish(NOTHING_ASKED)
    assert set(house.artifacts.contents) == {"cvl-train-L4-cost"}
    assert set(house.artifacts.contents["cvl-train-L4-cost"]) == {"cvl-1.json"}
    assert house.page.outputs["artifact_id"] == ""
    MESSAGES.check("the artifact of the cost", house.reporter.said[-1])


@pytest.mark.parametrize("problem", [STUCK, RuntimeError("no such module"), OSError("no route to host")])
@pytest.mark.parametrize("outcome", [SUCCEEDED, FAILED], ids=["green", "red"])
def test_an_upload_that_fails_is_said_once_with_where_the_files_are_and_changes_no_ending(
    house: House, problem: Exception, outcome: Outcome
) -> None:
    house.artifacts.broken = problem
    house.publish(outcome)
    [warning] = house.warnings()
    assert str(problem).partition("\n")[0] in warning
    assert str(house.folder.parent) in warning
    assert "The run's ending does not change." in warning
    assert "actions/upload-artifact" in warning
    assert house.page.outputs["ending"] == outcome.ending.value
    assert house.page.outputs["exit_code"] == str(outcome.exit_code)
    assert house.page.outputs["artifact_id"] == ""
    assert len(house.page.comments) == 1


def test_without_a_service_files_stay_where_they_are_and_that_is_said_once(house: House) -> None:
    house.artifacts.kept = "git.example.com is a GitHub Enterprise Server"
    house.publish()
    said = [each for each in house.reporter.said if "Enterprise" in each]
    assert len(said) == 1
    assert str(house.folder.parent) in said[0]
    assert house.warnings() == []
    assert (house.folder / "outputs" / "checkpoint.npz").read_text() == "weights"


def test_a_page_that_cannot_be_written_keeps_nothing_from_being_uploaded(house: House) -> None:
    house.page.broken = True
    house.publish()
    assert len(house.artifacts.held) == 4
    assert all("no room on the disk" in each for each in house.warnings())


def test_a_cost_that_cannot_be_written_is_a_warning_and_the_log_is_uploaded(house: House) -> None:
    house.folder.with_name("cvl-1.json").mkdir()
    house.publish()
    assert "cvl-1.json" in house.warnings()[0]
    assert set(house.artifacts.contents["cvl-train-L4-log"]) == {"cvl-1.log"}


def test_days_of_retention_are_passed_on_and_none_uploads_nothing(house: House) -> None:
    house.publish(publication=PublicationInputs(retention_days=5))
    assert house.artifacts.retention == [5, 5, 5, 5]
    other = FakeArtifacts()
    house.artifacts = other
    house.publish(publication=PublicationInputs(retention_days=0))
    assert other.held == {}


def test_post_does_not_upload_again_what_main_had_and_links_to_both(house: House) -> None:
    log = Link(text="cvl-train-L4-log", url="https://github.com/cvl/ci/actions/runs/7/artifacts/9")
    house.publish(uploaded={"log": log})
    assert set(house.artifacts.held) == {*ALL} - {"cvl-train-L4-log"}
    assert house.page.comments[-1] == ALL


def test_each_artifact_is_written_down_as_soon_as_it_is_there(house: House) -> None:
    before: dict[str, list[str]] = {}
    house.artifacts.at = lambda step: before.__setitem__(step, list(house.uploaded))
    house.publish()
    assert before["upload cvl-train-L4-cost"] == []
    assert before["upload cvl-train-L4"] == ["cost", "log"]
    assert set(house.uploaded) == {"cost", "log", "outputs", "checkpoints"}


def test_what_is_left_out_is_named_and_counted_and_inert(house: House) -> None:
    house.artifacts.left_out = {f"\x1b[31m.hid\nden{number}": "hidden" for number in range(9)}
    house.publish()
    said = next(each for each in house.reporter.said if each.startswith("Left out of the artifact cvl-train-L4: "))
    assert ".hid den0 (hidden)" in said
    assert "and 4 more" in said
    assert "\x1b" not in said
    assert "\n" not in said


@pytest.mark.parametrize("step", ["upload cvl-train-L4-cost", "upload cvl-train-L4-log", "upload cvl-train-L4"])
def test_what_cannot_be_noted_of_one_artifact_keeps_no_other_from_being_there(house: House, step: str) -> None:
    def noted(kind: str, link: Link) -> None:
        if house.steps[-1] == step:
            raise OSError("no room on the disk")
        house.uploaded[kind] = link

    house.publish_with(noted)
    assert set(house.artifacts.held) == set(ALL)
    assert len(house.warnings()) == 1 and "no room on the disk" in house.warnings()[0]
    assert house.page.outputs["ending"] == "succeeded"


def test_names_and_metrics_that_are_no_text_are_published_all_the_same(house: House) -> None:
    (house.folder / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    odd = replace(
        FAILED,
        reason="\ud800",
        files=replace(FAILED.files, fetched=(FetchedFile(path="caf\udce9.txt", bytes=1),)),
        measurements=replace(FAILED.measurements, metrics={"\ud800": "\udfff"}),
    )
    house.publish(odd)
    assert house.warnings() == []
    assert set(house.artifacts.held) == set(ALL)
    assert house.page.outputs["exit_code"] == str(FAILED.exit_code)
    house.page.outputs["metrics"].encode()


@pytest.mark.parametrize("link", ["cvl-outputs", "cvl-outputs/cvl-1", "cvl-outputs/cvl-1.json"])
def test_nothing_is_written_or_uploaded_through_a_link_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("s")
    path = tmp_path / link
    if path.exists():
        path.rename(tmp_path / "away")
    path.symlink_to(elsewhere / "x.json" if link.endswith(".json") else elsewhere)
    house.publish()
    assert [file.name for file in elsewhere.iterdir()] == ["secret"]
    assert "secret" not in str(house.artifacts.contents)
    assert any("is a link to another place" in each for each in house.warnings())


def test_the_fake_answers_as_the_port_says() -> None:
    assert isinstance(FakeArtifacts().upload("x", root=Path("/nonexistent"), paths=["."]), Uploaded)
