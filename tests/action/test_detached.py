"""A detached run in a workflow: its record as an artifact, its commit pending, and the verb that collects it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cvl_ci import wiring
from cvl_ci.action import detached
from cvl_ci.action.publication import StepPublication
from cvl_ci.action.step import Step
from cvl_ci.commands.collect.collect import Collected
from cvl_ci.commands.collect.running import StillRunning
from cvl_ci.commands.publish import WorkflowFacts
from cvl_ci.errors import CvlError
from cvl_ci.github.artifacts.detached_runs import WAITING, mark_name
from cvl_ci.github.context import GitHubContext, GitHubServer
from cvl_ci.github.event import Event
from cvl_ci.github.pr.step_comment import StepComment
from cvl_ci.local.lease_records import as_text
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Attempt, Launch, Spending
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.outcome import Ending, MachineResult, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.release import Release
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.ports import LeaseRecord, NotUploaded, Uploaded
from cvl_ci.result.masks import Masks
from cvl_ci.result.report import marker
from cvl_ci.wiring import collecting
from cvl_ci.wiring.directories import open_records
from tests.github import openapi
from tests.github.api import URL, Api
from tests.support.fakes import FakeClock, FakeReporter

OWNER = Owner(repository="cvl/ci", run="7", job="train", step="gpu")
COMMIT = "a" * 40
RUN = "https://x/cvl/ci/actions/runs/7/attempts/2"
HERE = openapi.example("GET /repos/{owner}/{repo}/actions/runs/{run_id}")["repository"]["id"]
OWN = {"head_sha": COMMIT, "head_branch": "main", "repository_id": 5, "head_repository_id": 5}
RECORD = LeaseRecord(
    name=OWNER.name,
    labels=OWNER.labels(deadline=2_000_000_000),
    deadline=2_000_000_000,
    locations=(Location(cloud="aws"),),
    taken_at=1_800_000_000,
    detached=Detached(
        place=BucketAddress(bucket="results", prefix=OWNER.name),
        title="train it",
        work=WorkIdentity(title="train it"),
        launch=Launch(
            cluster=OWNER.name, cloud="aws", region="us-east-1", zone=None, instance_type="m6i.large",
            accelerators={}, spot=False, num_nodes=1, hourly_usd=0.1, created_at=1_800_000_000,
        ),
        spending=Spending(),
        limits=Limits(),
        began_at=1_800_000_100,
        workflow={"context": "cvl-ci: train it (train (L4))", "commit": "f" * 40},
    ),
)  # fmt: skip


def attempt(hourly_usd: float, error: str | None = None) -> Attempt:
    return Attempt(
        cloud="aws",
        region="us-east-1",
        zone=None,
        instance_type="g6.xlarge",
        spot=False,
        hourly_usd=hourly_usd,
        error=error,
    )


REFUSED, DEARER = attempt(0.8, "InsufficientInstanceCapacity"), attempt(5.6)
CHEAPER = attempt(0.8)


def outcome(ending: Ending, code: int, *, gone: bool = True, attempts: tuple[Attempt, ...] = ()) -> Outcome:
    return Outcome(
        ending=ending,
        reason="so",
        exit_code=code,
        work=WorkIdentity(title="train it"),
        machines=MachineResult(cluster=OWNER.name, attempts=attempts),
        release=Release(gone=gone, at=1_900_000_000),
    )


class Reporter(FakeReporter):
    """The reporter of a step: it also masks, and shows errors."""

    def refused(self, text: str) -> None:
        self.said.append(f"error: {text}")

    @property
    def errors(self) -> SimpleNamespace:
        return SimpleNamespace(clear=lambda: self.said.append("the next run"))

    def mask(self, *_: str) -> None:
        """Mask nothing: there is no secret."""


@dataclass
class Uploads:
    refuse: bool = False
    got: dict[str, str] = field(default_factory=dict)

    def upload(
        self, name: str, *, root: Path, paths: list[str], retention_days: int | None = None
    ) -> Uploaded | NotUploaded:
        if self.refuse:
            return NotUploaded(name=name, reason="there is no results service")
        self.got[name] = (root / paths[0]).read_text()
        return Uploaded(name=name, id=1, url="", bytes=1, sha256="", files=1, left_out={})


class DetachedStep:
    """One step with a HOME of its own. `ends`: what collecting finds for each lease."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"HOME": str(folder / "home"), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        self.uploads, self.reporter = Uploads(), Reporter()
        self.published: list[str] = []
        self.facts = WorkflowFacts()
        event = SimpleNamespace(head_sha=COMMIT, sha="")
        context = GitHubContext(
            repository="cvl/ci",
            run="7",
            attempt="2",
            job="train",
            step="gpu",
            event=cast("Event", event),
            sha="",
            leg='{"gpu": "L4"}',
            workflow="nightly",
            server=GitHubServer(api=URL, web="https://x"),
            branch="main",
        )
        self.step = SimpleNamespace(
            owner=OWNER,
            context=context,
            outputs=folder / "cvl-outputs" / OWNER.name,
            reporter=self.reporter,
            artifacts=lambda: self.uploads,
            github_token="secret-token",
            state=SimpleNamespace(update=lambda **_: None),
            inputs=SimpleNamespace(publication=SimpleNamespace(comment_group="")),
            comment_of=self.comment_of,
        )

    def hand_over(self) -> None:
        open_records(self.environ, self.reporter).write(RECORD)
        detached.hand_over(cast("Step", self.step), outcome(Ending.DETACHED, 0), self.environ)

    def comment_of(self, context: GitHubContext, *, group: str) -> StepComment:
        return StepComment(
            context=context,
            group=group,
            token="secret-token",
            masks=Masks(),
            clock=FakeClock(),
            say=self.reporter.warning,
        )

    def publish(
        self, end: Outcome, *, folder: Path, name: str, facts: WorkflowFacts, comment: StepComment | None
    ) -> None:
        self.published.append(name)
        self.facts = facts
        if comment is not None:
            comment.write_end(end, tail=(), artifacts=())
            comment.close()

    def collect(self) -> int:
        publication = SimpleNamespace(publish_collected=self.publish)
        return detached.carry_out(cast("Step", self.step), cast("StepPublication", publication), self.environ, ())


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def workflow(tmp_path: Path) -> DetachedStep:
    return DetachedStep(tmp_path)


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome | StillRunning], None]:
    """Replace the cloud: tests/commands/test_detach.py and the sandbox's tests have it."""

    def find(result: Outcome | StillRunning) -> None:
        def collect(
            names: list[str], *, publish: Any, folder_of: Any, environ: Any, reporter: Any, **_: Any
        ) -> Collected:
            (name,) = names
            folder = folder_of(name)
            if isinstance(result, StillRunning):
                return Collected(outcomes={}, running=(result,))
            record = open_records(environ, reporter).read(name)
            publish(record, result, folder)
            return Collected(outcomes={name: result})

        monkeypatch.setattr(collecting, "collect", collect)
        # The real one sets this process's own environment.
        monkeypatch.setattr(wiring, "credentials", lambda environ, _, *, mask: environ, raising=False)

    return find


def test_main_leaves_the_record_as_an_artifact_and_the_commit_pending(api: Api, workflow: DetachedStep) -> None:
    workflow.hand_over()
    text = workflow.uploads.got[f"{WAITING}{OWNER.name}"]
    facts = json.loads(text)["detached"]["workflow"]
    assert (facts["commit"], facts["context"]) == (COMMIT, "cvl-ci: train it (train (L4))")
    ((commit, context, state, told),) = api.store.statuses
    assert (commit, context, state) == (COMMIT, "cvl-ci: train it (train (L4))", "pending")
    assert "at most" in told


def test_a_record_that_cannot_be_uploaded_is_an_error_so_that_post_ends_the_machine(workflow: DetachedStep) -> None:
    workflow.uploads.refuse = True
    with pytest.raises(CvlError):
        workflow.hand_over()


def test_a_status_without_the_right_to_set_it_is_a_warning(workflow: DetachedStep) -> None:
    with Api(writable=False).serving():
        workflow.hand_over()
    assert workflow.uploads.got
    assert any("statuses: write" in text for text in workflow.reporter.said)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (outcome(Ending.SUCCEEDED, 0), "success"),
        (outcome(Ending.FAILED, 7), "failure"),
        (outcome(Ending.IDLE, 124), "failure"),
        (outcome(Ending.IDLE, 0), "success"),
        (outcome(Ending.TIMED_OUT, 124), "failure"),
        (outcome(Ending.PREEMPTED, 75), "error"),
        (outcome(Ending.OVER_BUDGET, 78), "failure"),
        (outcome(Ending.OVER_BUDGET, 78, attempts=(REFUSED, DEARER)), "error"),
        (outcome(Ending.OVER_BUDGET, 78, attempts=(attempt(5.6, "full"), CHEAPER)), "failure"),
        (outcome(Ending.NEVER_STARTED, 70), "error"),
        (outcome(Ending.NEVER_STARTED, 64), "failure"),
        (outcome(Ending.SUCCEEDED, 79, gone=False), "error"),
    ],
    ids=str,
)
def test_the_check_gets_the_end_of_the_job(
    api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None], end: Outcome, state: str
) -> None:
    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": as_text(RECORD)}, workflow_run=OWN)
    finds(end)
    assert workflow.collect() == end.exit_code
    ((commit, context, shown, _),) = api.store.statuses
    assert (commit, context, shown) == (COMMIT, "cvl-ci: train it (train (L4))", state), "the commit is GitHub's word"
    is_gone = end.release is not None and end.release.gone
    assert workflow.published == ([f"cvl-ci-collected-{OWNER.name}"] if is_gone else []), (
        "else the next step tries again"
    )
    assert list(workflow.uploads.got) == ([mark_name(OWNER.name)] if is_gone else [])


@pytest.mark.parametrize(("answer", "is_marked"), [(500, False), (403, True)], ids=["later", "never"])
def test_a_status_that_failed_for_now_is_set_by_the_next_collection(
    workflow: DetachedStep, finds: Callable[[Outcome], None], answer: int, *, is_marked: bool
) -> None:
    words = (answer, {"Content-Type": "application/json"}, '{"message": "no"}')
    with Api(faults={f"POST /repos/cvl/ci/statuses/{COMMIT}": [words] * 9}).serving() as api:
        api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": as_text(RECORD)}, workflow_run=OWN)
        finds(outcome(Ending.SUCCEEDED, 0))
        assert workflow.collect() == 0
    assert list(workflow.uploads.got) == ([mark_name(OWNER.name)] if is_marked else [])
    assert any("does not show" in text for text in workflow.reporter.said)


def test_the_mark_comes_after_the_outputs_and_the_status(
    api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": as_text(RECORD)}, workflow_run=OWN)
    finds(outcome(Ending.SUCCEEDED, 0))
    monkeypatch.setattr(detached, "_set_status", stop)
    with pytest.raises(KeyboardInterrupt):
        workflow.collect()
    assert workflow.published and not workflow.uploads.got


@pytest.mark.parametrize(
    "text",
    [
        as_text(RECORD).replace("2000000000", "Infinity"),
        as_text(RECORD).replace("1800000100", "NaN"),
        as_text(RECORD).replace("1800000000", "1e300"),
        "{}",
        "[" * 100_000,
    ],
    ids=range(5),
)
def test_a_record_that_cannot_be_read_is_not_the_absence_of_a_run_and_hides_no_other(
    api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None], text: str
) -> None:
    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": text}, workflow_run=OWN)
    assert workflow.collect() == 79
    (told,) = [text for text in workflow.reporter.said if text.startswith("error: ")]
    assert OWNER.name in told
    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": as_text(RECORD)}, workflow_run=OWN)
    finds(outcome(Ending.SUCCEEDED, 0))
    assert workflow.collect() == 0


def test_a_job_that_runs_leaves_its_check_pending_and_the_step_green(
    api: Api, workflow: DetachedStep, finds: Callable[[StillRunning], None]
) -> None:
    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": as_text(RECORD)}, workflow_run=OWN)
    finds(StillRunning(lease=OWNER.name, title="train it", until=2e9, usd=0.5))
    assert workflow.collect() == 0
    assert api.store.statuses == []
    assert any("still runs" in text for text in workflow.reporter.said)


@pytest.mark.parametrize(
    ("url", "shown"),
    [(RUN, RUN), ("https://x/cvl/ci/actions/runs/8/attempts/1", RUN.rpartition("/attempts")[0])],
    ids=["own", "another"],
)
def test_the_collected_files_tell_of_the_workflow_that_detached(
    api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None], url: str, shown: str
) -> None:
    workflow.hand_over()
    text = workflow.uploads.got[f"{WAITING}{OWNER.name}"].replace(RUN, url)
    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": text}, workflow_run=OWN)
    workflow.step.context = replace(workflow.step.context, run="99", attempt="1")
    finds(outcome(Ending.SUCCEEDED, 0))
    workflow.collect()
    assert workflow.facts == WorkflowFacts(
        commit=COMMIT, run_url=shown, leg="gpu: L4", job="train (L4)", workflow="nightly"
    )


def described(api: Api, **more: object) -> None:
    """Let GitHub describe the run that detached: of a pull request, unless told otherwise."""
    request = {"id": 1, "number": 5, "url": "", "head": _end("train", HERE), "base": _end("main", HERE)}
    api.store.runs.append({"id": 7, "name": "nightly", "head_sha": COMMIT, "pull_requests": [request], **more})


def _end(branch: str, repository: int) -> dict[str, object]:
    return {"ref": branch, "sha": COMMIT, "repo": {"id": repository, "name": "ci", "url": ""}}


def collected(api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None], **facts: str) -> None:
    workflow.hand_over()
    document = json.loads(workflow.uploads.got[f"{WAITING}{OWNER.name}"])
    document["detached"]["workflow"] |= facts
    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": json.dumps(document)}, workflow_run=OWN)
    finds(outcome(Ending.SUCCEEDED, 0))
    workflow.step.context = replace(workflow.step.context, run="99", job="collect", leg="", workflow="collect")
    assert workflow.collect() == 0


def test_the_end_replaces_main_s_comment_on_the_pull_request_that_github_names(
    api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None]
) -> None:
    own = marker(workflow.step.context.comment_key())
    number = api.comment(f"{own}<!-- run:7.2 ended -->\nIts job runs, detached.")
    other = api.comment("words of a person")
    described(api)
    collected(api, workflow, finds)
    assert set(api.comments) == {number, other}, "it is the same comment"
    text = api.comments[number]["body"]
    assert text.startswith(f"{own}<!-- run:7.2 ended -->") and "Succeeded: `train it`" in text
    assert "actions/runs/7/attempts/2" in text
    assert "the next run" in workflow.reporter.said, "no line of an earlier run is told of this one"


def test_a_later_run_s_comment_stays(api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None]) -> None:
    own = marker(workflow.step.context.comment_key())
    number = api.comment(f"{own}<!-- run:8.1 ended -->\nof a newer commit")
    described(api)
    collected(api, workflow, finds)
    assert api.comments[number]["body"].endswith("of a newer commit")


@pytest.mark.parametrize(
    "run",
    [
        {"pull_requests": []},
        {"pull_requests": None},
        {"head_sha": "b" * 40},
        {"pull_requests": [{"id": 1, "number": 5, "url": "", "head": _end("x", HERE), "base": _end("main", HERE + 1)}]},
    ],
    ids=["none", "no list", "another commit", "into a fork"],
)
def test_the_record_s_own_words_name_no_pull_request(
    api: Api, workflow: DetachedStep, finds: Callable[[Outcome], None], run: dict[str, object]
) -> None:
    described(api, **run)
    collected(api, workflow, finds, pull_request="5", number="5", event="pull_request")
    assert api.bodies() == []
    assert any("No comment" in text for text in workflow.reporter.said)
    assert workflow.published and mark_name(OWNER.name) in workflow.uploads.got, "the end is told elsewhere"


def test_nothing_that_waits_is_a_success(api: Api, workflow: DetachedStep) -> None:
    assert workflow.collect() == 0
    assert api.store.statuses == []


@pytest.mark.parametrize(
    "record",
    [
        replace(RECORD, labels={**RECORD.labels, "cvl-ci-owner": "another-one"}),
        replace(RECORD, labels={**RECORD.labels, "cvl-ci-run": "8-1"}),
        replace(RECORD, labels={**RECORD.labels, "cvl-ci-lease": "cvl-7-00000000"}),
        replace(RECORD, detached=None),
    ],
    ids=range(4),
)
def test_a_record_of_another_run_or_repository_is_not_touched(
    api: Api, workflow: DetachedStep, record: LeaseRecord
) -> None:
    api.store.artifact(7, f"{WAITING}{OWNER.name}", {f"{OWNER.name}.json": as_text(record)}, workflow_run=OWN)
    assert workflow.collect() == 0
    assert open_records(workflow.environ, workflow.reporter).read(OWNER.name) is None
    assert any("another repository or run" in text for text in workflow.reporter.said)
