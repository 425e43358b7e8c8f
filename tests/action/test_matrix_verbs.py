"""A matrix, a report and its history as steps of a workflow, from their inputs to what GitHub then holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.action import matrix_verbs
from cvl_ci.action.publication import StepPublication
from cvl_ci.action.step import Step
from cvl_ci.errors import CvlError, RequestError
from cvl_ci.inputs.option import EntryPoint
from cvl_ci.inputs.reader import from_environment
from cvl_ci.inputs.table import MATRIX_OPTIONS, verb_options
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE
from cvl_ci.result.benchmark import leg_file
from tests import golden
from tests.github import api as fake
from tests.github.api import URL, Api
from tests.github.repository_store import Store
from tests.github.runner import read_file
from tests.github.test_download import cost
from tests.result.benchmark.legs import NIGHT, leg, never_started

MESSAGES = golden.Messages(__name__)

ROOT = Path(__file__).parents[2]
BASE, HEAD = "b" * 40, "c" * 40
DAY = 86_400.0
SIDE = {"repo": {"full_name": "cvl/ci"}}
REQUEST = {"number": 5, "head": {**SIDE, "sha": HEAD}, "base": {**SIDE, "sha": BASE, "ref": "main"}}
REPOSITORY = {"full_name": "cvl/ci", "default_branch": "main"}
DIGITS: dict[str, Any] = {"example": "digits_sgd", "preset": "train"}


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(store=Store(commits=[HEAD, BASE, "a" * 40])).serving() as api:
        yield api


@pytest.fixture
def store(api: Api) -> Store:
    return api.store


@dataclass
class Job:
    """One step after another of a job in the checkout `folder`."""

    folder: Path
    environ: dict[str, str]
    said: Callable[[], str]
    given: dict[str, str] = field(default_factory=dict)

    def step(self, verb: str, **given: str) -> int:
        inputs = {f"INPUT_{one.name.upper()}": one.action_default for one in MATRIX_OPTIONS}
        words = {f"INPUT_{name.upper()}": value for name, value in {"verb": verb, **self.given, **given}.items()}
        environ = {**self.environ, **inputs, **words}
        read = from_environment({})
        github = Step(environ)
        try:
            return matrix_verbs.carry_out(github, StepPublication(github), environ, read.mistakes)
        finally:
            github.reporter.close()

    def on(self, event: str, payload: dict[str, Any]) -> None:
        (self.folder / "event.json").write_text(json.dumps({"repository": REPOSITORY, **payload}))
        self.environ["GITHUB_EVENT_NAME"] = event

    def outputs(self) -> dict[str, str]:
        return read_file((self.folder / "outputs").read_text())

    @property
    def summary(self) -> str:
        path = self.folder / "summary.md"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Job:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.chdir(checkout)
    files = {"GITHUB_STEP_SUMMARY": "summary.md", "GITHUB_OUTPUT": "outputs", "GITHUB_STATE": "state"}
    made = Job(
        folder=tmp_path,
        said=lambda: capsys.readouterr().out,
        environ={
            "HOME": str(tmp_path),
            "GITHUB_API_URL": URL,
            "GITHUB_SERVER_URL": "https://git.example.com",
            "GITHUB_REPOSITORY": "cvl/ci",
            "GITHUB_RUN_ID": "7",
            "GITHUB_JOB": "report",
            "GITHUB_WORKFLOW": "Nightly",
            "GITHUB_SHA": HEAD,
            "GITHUB_REF_NAME": "main",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "INPUT_GITHUB_TOKEN": "secret-token",
            **{name: str(tmp_path / file) for name, file in files.items()},
        },
    )
    made.on("pull_request", {"pull_request": REQUEST})
    return made


def upload_costs(store: Store, *costs: dict[str, Any], run: int = 7) -> None:
    for known in costs:
        store.artifact(run, f"cvl-legs-{known['leg']}-cost", cost(**known))


def nights(store: Store, count: int = 4, **changed: Any) -> None:
    """Of the base: as many as it takes to know that its metrics never differ."""
    for number in range(count):
        store.run(800 + number, BASE)
        at = NIGHT - (count - number) * DAY
        url = f"https://github.com/o/r/actions/runs/{800 + number}"
        known = {**DIGITS, "commit": BASE, "at": at, "run_url": url, "cluster": f"cvl-{number}", **changed}
        store.artifact(800 + number, "cvl-report", {"legs.jsonl": leg_file.line(leg(**known)) + "\n"})


CLEAN: dict[str, Any] = {**DIGITS, "cluster": "cvl-now", "leg": "digits", "at": NIGHT}
FAILED = {**CLEAN, "ending": "failed", "exit_code": 7, "reason": "The job exited with code 7."}
NO_MACHINE = never_started(75, "No machine was available.", leg="digits", cluster="cvl-now", **DIGITS)
SLOW: dict[str, Any] = {**CLEAN, "metrics": {"accuracy": 0.72}}


# ---- a report --------------------------------------------------------------------------------------------------------


def test_a_report_is_one_summary_one_comment_and_one_page(job: Job, api: Api, store: Store) -> None:
    nights(store)
    upload_costs(store, CLEAN, {**FAILED, "cluster": "cvl-gcp", "leg": "digits gcp", "cloud": "gcp"})
    assert job.step("report") == 1
    assert job.summary.startswith("### 1 of 2 legs red")
    [comment] = api.bodies()
    assert "### 1 of 2 legs red" in comment
    assert "against 4 runs of bbbbbbbbbbbb" in comment
    page = Path("cvl-report/report.html").read_text()
    assert page.startswith("<!doctype html>")
    said = job.outputs()
    assert (said["ending"], said["exit_code"], said["legs"], json.loads(said["red"])) == (
        "failed", "1", "2", ["digits gcp"]
    )  # fmt: skip
    assert "in no artifact" in job.said(), "there is no service for artifacts here, and that is said"


def test_the_same_legs_again_change_the_one_comment(job: Job, api: Api, store: Store) -> None:
    upload_costs(store, CLEAN)
    job.step("report")
    job.environ["GITHUB_RUN_ID"] = "8"
    upload_costs(store, FAILED, run=8)
    job.step("report")
    [comment] = api.bodies()
    assert "1 of 1 leg red" in comment
    job.environ["GITHUB_RUN_ID"] = "7"
    job.step("report")
    assert api.bodies() == [comment], "a run that began later has the word"


@pytest.mark.parametrize(
    ("given", "code", "status"),
    [({}, 0, "worse"), ({"fail_on_regression": "true"}, 1, "worse")],
    ids=["told", "fails"],
)
def test_what_got_worse_than_the_base_is_told_and_fails_where_it_shall(
    job: Job, store: Store, given: dict[str, str], code: int, status: str
) -> None:
    nights(store)
    upload_costs(store, SLOW)
    assert job.step("report", **given) == code
    [row] = json.loads(Path("cvl-report/report.json").read_text())["rows"]
    assert (row["status"], row["worse"], row["baseline"]) == (status, ["accuracy"], BASE)


@pytest.mark.parametrize(("given", "code"), [({}, 0), ({"infra_failures": "fail"}, 75)])
def test_a_leg_without_a_machine_is_neutral_unless_told_otherwise(
    job: Job, store: Store, given: dict[str, str], code: int
) -> None:
    upload_costs(store, NO_MACHINE, {**CLEAN, "cluster": "cvl-gcp", "leg": "digits gcp", "cloud": "gcp"})
    assert job.step("report", **given) == code
    assert json.loads(job.outputs()["rerun"]) == ["digits"]


@pytest.mark.parametrize("given", [{}, {"infra_failures": "fail"}, {"comment": "failure"}])
def test_a_leg_that_left_nothing_is_named_and_red(job: Job, api: Api, store: Store, given: dict[str, str]) -> None:
    upload_costs(store, CLEAN)
    matrix = json.dumps({"include": [{"name": "digits"}, {"name": "digits gcp"}]})
    assert job.step("report", expected=matrix, **given) == 1
    assert "1 left no summary" in job.summary
    assert "- `digits gcp`" in job.summary
    assert "- `digits gcp`" in api.bodies()[0]
    MESSAGES.check("a leg without a summary", golden.line(job.said(), "::error::"))
    assert job.outputs()["ending"] == "failed"


def test_of_folders_the_last_attempt_of_this_run_counts_and_other_runs_as_they_are(job: Job, store: Store) -> None:
    """As actions/download-artifact unpacks the artifacts of all attempts."""
    runs = "https://git.example.com/cvl/ci/actions/runs"
    numbers = {name: store.job(name, attempt=1) for name in ("digits", "gpt")}
    for name in numbers:
        store.job(name, attempt=2)
    for name, run, attempt, ending in (
        ("digits", 7, 1, {"ending": "failed", "exit_code": 7}),
        ("digits", 7, 2, {}),
        ("gpt", 7, 1, {}),
        ("of another run", 6, 1, {}),
    ):
        told = {**DIGITS, "at": NIGHT, "leg": name, "job": name, "check_run": str(numbers.get(name, 1)), **ending}
        known = cost(**told, cluster=f"cvl-{name[:2]}-{attempt}", run_url=f"{runs}/{run}/attempts/{attempt}")
        folder = Path("legs", f"{name}-{attempt}-cost")
        folder.mkdir(parents=True)
        for file, text in known.items():
            (folder / file).write_text(text)
    job.environ["GITHUB_RUN_ATTEMPT"] = "2"
    assert job.step("report", folders="legs", history="none") == 1
    known = json.loads(Path("cvl-report/report.json").read_text())
    assert [one["name"] for one in known["outdated"]] == ["gpt"]
    assert [(row["name"], row["failure"], row["status"]) for row in known["rows"]] == [("digits", None, "succeeded")]
    assert len(Path("cvl-report/legs.jsonl").read_text().splitlines()) == 2, "and that of the other run"


@pytest.mark.parametrize("told", ["", "no permission"])
def test_after_all_jobs_ran_again_a_leg_without_a_new_summary_is_red_and_after_failed_ones_it_counts(
    job: Job, api: Api, store: Store, told: str
) -> None:
    """Both kinds of re-run, in one run: digits ran again and left nothing, gpt did not run again."""
    numbers = {name: store.job(name, attempt=1) for name in ("digits", "gpt")}
    store.job("digits", attempt=2)
    store.job("gpt", attempt=2, began=1)
    for name, number in numbers.items():
        url = "https://git.example.com/cvl/ci/actions/runs/7/attempts/1"
        upload_costs(store, {**CLEAN, "cluster": f"cvl-{name}", "leg": name, "check_run": str(number), "run_url": url})
    job.environ["GITHUB_RUN_ATTEMPT"] = "2"
    if told:
        api.faults["GET /repos/cvl/ci/actions/runs/7/jobs"] = [(403, {}, '{"message": "not by integration"}')] * 4
    expected = json.dumps({"include": [{"name": "digits"}, {"name": "gpt"}]})
    assert job.step("report", history="none", expected=expected) == 1
    known = json.loads(Path("cvl-report/report.json").read_text())
    assert [one["name"] for one in known["outdated"]] == (["digits", "gpt"] if told else ["digits"])
    assert (known["missing"], [row["name"] for row in known["rows"]]) == ([], [] if told else ["gpt"])
    why = "does not tell whether its job ran again" if told else "its job ran again in attempt 2"
    said = job.said()
    for text in (job.summary, api.bodies()[0], Path("cvl-report/report.html").read_text(), said):
        assert why in text
        assert "left no summary in this attempt" in text
    assert ("actions: read" in said) == bool(told)


@pytest.mark.parametrize("given", [{}, {"infra_failures": "fail"}])
@pytest.mark.usefixtures("api")
def test_a_run_without_any_leg_is_red(job: Job, given: dict[str, str]) -> None:
    assert job.step("report", **given) == 1
    assert "No legs were found" in job.summary
    assert "nothing was tested" in job.said()


def test_legs_past_their_retention_are_no_legs_that_passed(job: Job, store: Store) -> None:
    upload_costs(store, CLEAN)
    store.artifact(7, "cvl-legs-old-cost", cost(**CLEAN), expired=True)
    assert job.step("report") == 1
    MESSAGES.check("past their retention", golden.line(job.summary, "past their retention"))


def test_a_machine_that_may_be_left_is_the_loudest(job: Job, store: Store) -> None:
    upload_costs(store, {**CLEAN, "released": {"gone": False}})
    assert job.step("report") == EXIT_NOT_PROVED_GONE
    assert "cvl-ci down cvl-now" in job.summary


def test_without_a_baseline_it_says_so_and_passes(job: Job, store: Store) -> None:
    upload_costs(store, SLOW)
    assert job.step("report", fail_on_regression="true") == 0
    MESSAGES.check("no baseline for a gate", golden.line(job.said(), "::warning::This workflow"))
    assert "no baseline" in job.summary
    assert job.step("report") == 0
    MESSAGES.check("no baseline", golden.line(job.said(), "::notice::This workflow"))


@pytest.mark.parametrize(("given", "code"), [({}, 0), ({"fail_on_regression": "true"}, 70)])
def test_a_github_that_shows_no_history_is_red_only_where_a_regression_is(
    job: Job, store: Store, api: Api, given: dict[str, str], code: int
) -> None:
    upload_costs(store, SLOW)
    api.faults["GET /repos/cvl/ci/commits"] = [(403, {}, '{"message": "no"}')]
    assert job.step("report", **given) == code
    said = job.said()
    assert "Nothing is compared" in said
    assert "contents: read" in said
    assert ("So fail_on_regression cannot tell" in said) is bool(code)
    assert job.outputs()["exit_code"] == str(code)


def test_a_github_that_shows_no_artifacts_is_no_green_report(job: Job, api: Api) -> None:
    api.faults["GET /repos/cvl/ci/actions/runs/7/artifacts"] = [(403, {}, '{"message": "no"}')]
    with pytest.raises(CvlError) as caught:
        job.step("report")
    assert "actions: read" in caught.value.next_step


def test_a_push_is_compared_with_what_came_before_it(job: Job, store: Store) -> None:
    nights(store)
    job.on("schedule", {})
    upload_costs(store, SLOW)
    job.step("report")
    [row] = json.loads(Path("cvl-report/report.json").read_text())["rows"]
    assert (row["status"], row["baseline"]) == ("worse", BASE)


def test_history_may_be_none_or_of_another_workflow(job: Job, store: Store, api: Api) -> None:
    nights(store)
    upload_costs(store, SLOW)
    job.step("report", history="none")
    assert json.loads(Path("cvl-report/report.json").read_text())["rows"][0]["status"] == "succeeded"
    job.step("report", baseline_workflow="nightly-benchmark.yml")
    assert "GET /repos/cvl/ci/actions/workflows/nightly-benchmark.yml/runs" in api.asked


def test_who_wants_no_comment_gets_none_and_who_wants_failures_alone_is_told_of_recovery(
    job: Job, api: Api, store: Store
) -> None:
    upload_costs(store, CLEAN)
    job.step("report", comment="never")
    job.step("report", comment="failure")
    assert api.writes() == []
    upload_costs(store, FAILED, run=8)
    upload_costs(store, CLEAN, run=9)
    for run, word in (("8", "1 of 1 leg red"), ("9", "none red")):
        job.environ["GITHUB_RUN_ID"] = run
        job.step("report", comment="failure")
        assert word in api.bodies()[0]


def test_a_read_only_token_costs_the_comment_and_nothing_else(job: Job, api: Api, store: Store) -> None:
    api.writable = False
    upload_costs(store, FAILED)
    assert job.step("report") == 1
    assert "1 of 1 leg red" in job.summary
    assert "No comment on the pull request" in job.said()


def test_what_a_leg_says_obeys_nobody(job: Job, api: Api, store: Store) -> None:
    evil = "::set-output name=red::x\n##[error]x </table><script>alert(1)</script> @everyone `|` ](http://evil)"
    upload_costs(store, {**FAILED, "reason": evil, "leg": "digits"})
    job.step("report")
    lines = job.said().splitlines()
    assert not any(line.lstrip().startswith(("::set-output", "##[")) for line in lines)
    assert "<script>alert" not in Path("cvl-report/report.html").read_text()
    assert json.loads(job.outputs()["red"]) == ["digits"]


@pytest.mark.parametrize("link", ["cvl-report", "cvl-report/report.html"])
def test_a_checkout_s_link_leads_the_report_nowhere(job: Job, store: Store, tmp_path: Path, link: str) -> None:
    """In its container the action is root, and what is checked out may be a stranger's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path(link).parent.mkdir(exist_ok=True)
    Path(link).symlink_to(elsewhere if link == "cvl-report" else elsewhere / "report.html")
    upload_costs(store, CLEAN)
    assert job.step("report") == 0
    assert list(elsewhere.iterdir()) == []
    assert "is a link to another place" in job.said()


# ---- the issue -------------------------------------------------------------------------------------------------------


def test_a_night_that_got_worse_opens_an_issue_and_a_clean_one_closes_it(job: Job, store: Store) -> None:
    nights(store)
    job.on("schedule", {})
    upload_costs(store, SLOW)
    assert job.step("report", issue="true") == 0
    [issue] = store.open_issues()
    assert issue["title"] == "Nightly: 1 leg got worse or failed"
    assert "/actions/runs/7/attempts/1" in issue["body"]
    assert job.outputs()["issue_url"] == issue["html_url"]
    for run, known in ((8, NO_MACHINE), (9, CLEAN)):
        job.environ["GITHUB_RUN_ID"] = str(run)
        upload_costs(store, known, run=run)
        job.step("report", issue="true")
        assert len(store.open_issues()) == (1 if known is NO_MACHINE else 0)
    assert "fine again" in store.said[0][1]


def test_no_issue_is_opened_from_a_pull_request(job: Job, store: Store) -> None:
    upload_costs(store, FAILED)
    job.step("report", issue="true")
    assert store.issues == {}
    assert "No issue is opened from a pull request" in job.said()


def test_an_issue_that_may_not_be_written_is_said_and_changes_nothing(job: Job, api: Api, store: Store) -> None:
    api.writable = False
    job.on("schedule", {})
    upload_costs(store, FAILED)
    assert job.step("report", issue="true") == 1
    assert "issues: write" in job.said()


# ---- a matrix --------------------------------------------------------------------------------------------------------


def checkout(folder: Path) -> None:
    subprocess.run(["cp", "-r", str(ROOT / "examples"), str(folder)], check=True)
    for words in (("init", "-q", "-b", "main"), ("add", "-A")):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    commit(folder)


def commit(folder: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *who, "commit", "-qam", "x"], cwd=folder, check=True, capture_output=True)


def test_a_matrix_is_what_the_next_job_takes(job: Job) -> None:
    checkout(Path.cwd())
    given = {"examples": "digits_sgd", "presets": "train\ntrain_quick", "clouds": "aws/us-east-1,sandbox/us-west-2"}
    assert job.step("matrix", **given, budget="2", max_runtime="30m") == 0
    said = job.outputs()
    include = json.loads(said["matrix"])["include"]
    assert (said["legs"], len(include), said["dropped"]) == ("4", 4, "[]")
    assert {leg["cloud"] for leg in include} == {"aws/us-east-1", "sandbox/us-west-2"}
    assert all(leg["max_runtime"] for leg in include)
    assert float(said["estimated_usd"]) == pytest.approx(sum(float(leg["max_usd"]) for leg in include), abs=0.05)
    assert "4 legs" in job.summary


def test_legs_that_share_a_machine_are_one_entry_and_a_row_each(job: Job, store: Store) -> None:
    checkout(Path.cwd())
    given = {"examples": "digits_sgd", "presets": "train\ntrain_quick", "clouds": "aws/us-east-1,sandbox/us-west-2"}
    assert job.step("matrix", **given, pack="true") == 0
    said = job.outputs()
    entries = json.loads(said["matrix"])["include"]
    assert (said["legs"], len(entries)) == ("4", 2)
    assert "4 legs on 2 machines" in job.summary and "machine 1: 2 legs in turn" in job.summary
    names = [one["leg"] for entry in entries for one in json.loads(entry["queue"])["jobs"]]
    for entry, number in zip(entries, (1, 2), strict=True):
        own = [one["leg"] for one in json.loads(entry["queue"])["jobs"]]
        known = [
            {**CLEAN, "leg": leg, "preset": f"{number}-{at}", "cluster": f"cvl-{number}-{at}", "turn": at}
            for at, leg in enumerate(own, 1)
        ]
        files = {name: text for one in known for name, text in cost(**one).items()}
        store.artifact(7, f"cvl-legs-{number}-cost", files)
    assert job.step("report", expected=said["expected"]) == 0, job.said()
    assert job.outputs()["legs"] == "4" and len(names) == 4


def test_what_nothing_changed_is_no_leg_and_the_next_job_can_tell(job: Job) -> None:
    checkout(Path.cwd())
    assert job.step("matrix", changed_since="HEAD") == 0
    assert job.outputs()["legs"] == "0"
    script = Path("examples/tabular/digits_sgd/train.sh")
    script.write_text(script.read_text() + "\n")
    commit(Path.cwd())
    assert job.step("matrix", changed_since="HEAD~1", presets="train") == 0
    [one] = json.loads(job.outputs()["matrix"])["include"]
    assert one["example"] == "examples/tabular/digits_sgd"


def test_what_is_too_dear_is_left_out_by_name(job: Job) -> None:
    checkout(Path.cwd())
    assert job.step("matrix", examples="digits_sgd", presets="train", clouds="aws", budget="0.01") == 0
    [dropped] = json.loads(job.outputs()["dropped"])
    assert dropped["name"] == "digits-sgd train aws"
    assert "budget" in dropped["why"]


# ---- inputs ----------------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_told_at_once_and_what_another_verb_takes_is_wrong(job: Job) -> None:
    with pytest.raises(RequestError) as caught:
        job.step("report", infra_failures="red", history="brunch", nights="many", examples="a", expected="[1]")
    told = {mistake.field: str(mistake) for mistake in caught.value.mistakes}
    assert told.keys() == {"infra_failures", "history", "nights", "examples", "expected"}
    assert "branch" in told["history"]
    assert "is not an input of `verb: report`" in told["examples"]


def test_every_option_of_the_command_line_is_an_input_of_the_action() -> None:
    for verb in ("matrix", "report", "history"):
        in_action = {option.name for option in verb_options(verb, EntryPoint.ACTION)} | {"history_files"}
        assert {option.name for option in verb_options(verb)} <= in_action


# ---- what a matrix leaves out ----------------------------------------------------------------------------------------

NO_PRICE = {"examples": "digits_sgd", "presets": "train", "clouds": "aws/eu-central-1"}
SOME = {**NO_PRICE, "clouds": "aws/eu-central-1,sandbox/us-east-1"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (NO_PRICE, (0, "0", "warning")),
        ({**NO_PRICE, "on_dropped": "warn"}, (0, "0", "warning")),
        ({**NO_PRICE, "on_dropped": "fail"}, (78, "0", "error")),
        (SOME, (0, "1", "warning")),
        ({**SOME, "on_dropped": "fail"}, (78, "1", "error")),
        ({**SOME, "on_dropped": "fail", "clouds": "sandbox", "budget": "0.0001"}, (78, "0", "error")),
        ({"examples": "digits_sgd", "presets": "fail*", "clouds": "sandbox", "on_dropped": "fail"}, (0, "1", "")),
    ],
    ids=["no price", "warn", "fail", "some", "some fail", "budget", "all fine"],
)
def test_what_a_matrix_leaves_out_is_an_outcome_from_the_matrix_to_the_report(
    job: Job, api: Api, store: Store, given: dict[str, str], wanted: tuple[int, str, str]
) -> None:
    code, legs, kind = wanted
    checkout(Path.cwd())
    assert job.step("matrix", **given) == code
    said, told = job.outputs(), job.said()
    assert (said["legs"], said["exit_code"]) == (legs, str(code))
    annotations = [line for line in told.splitlines() if line.startswith(("::warning", "::error"))]
    dropped = [one["name"] for one in json.loads(said["dropped"])]
    assert [line.startswith(f"::{kind}::") and dropped[0] in line for line in annotations] == ([True] if kind else [])
    for leg_of in json.loads(said["matrix"])["include"]:
        upload_costs(store, {**CLEAN, "leg": leg_of["name"]})
    assert job.step("report", expected=said["expected"]) == (1 if code else 0)
    [comment], told = api.bodies(), job.said()
    for name in dropped:
        assert f"> - `{name}: " in comment and f"> - `{name}: " in job.summary
        assert any(line.startswith(f"::{kind}::") and name in line for line in told.splitlines())


def test_a_pull_request_that_changes_nothing_relevant_is_green_and_says_so(job: Job, api: Api) -> None:
    checkout(Path.cwd())
    assert job.step("matrix", changed_since="HEAD", on_dropped="fail") == 0
    said = job.outputs()
    MESSAGES.check("no leg", golden.line(job.said(), "::notice::No leg"))
    assert job.step("report", expected=said["expected"], fail_on_regression="true") == 0
    MESSAGES.check("no leg on the page", golden.line(job.summary, "### No leg had"))
    assert "No leg had to run" in api.bodies()[0]


def test_a_changed_example_without_a_preset_to_run_is_not_nothing(job: Job) -> None:
    checkout(Path.cwd())
    Path("examples/tabular/digits_sgd/new.py").write_text("x = 1\n")
    assert job.step("matrix", changed_since="HEAD", presets="predict", on_dropped="fail") == 64
    [one] = json.loads(job.outputs()["dropped"])
    assert one["name"] == "digits-sgd" and "no such preset" in one["why"]


def test_a_checkout_without_examples_is_a_mistake(job: Job) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(RequestError, match="in no folder of this checkout"):
        job.step("matrix")


@pytest.mark.usefixtures("api")
def test_a_run_without_legs_adds_nothing_to_history_and_is_red(job: Job) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(CvlError, match="nothing was added"):
        job.step("history")


# ---- history in a branch ---------------------------------------------------------------------------------------------


def test_runs_are_kept_in_a_branch_and_compared_with_from_there(job: Job, store: Store) -> None:
    checkout(Path.cwd())
    origin = job.folder / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", str(origin)], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(origin)], check=True)
    for number in range(4):
        url = f"https://github.com/o/r/actions/runs/{number}"
        at = NIGHT - (9 - number) * DAY
        upload_costs(
            store, {**CLEAN, "commit": BASE, "cluster": f"cvl-{number}", "at": at, "run_url": url}, run=20 + number
        )
        job.environ["GITHUB_RUN_ID"] = str(20 + number)
        assert job.step("history", into="lines.jsonl") == 0
    assert len(Path("lines.jsonl").read_text().splitlines()) == 4
    job.environ["GITHUB_RUN_ID"] = "7"
    upload_costs(store, SLOW)
    assert job.step("report", history="branch", fail_on_regression="true") == 1
    [row] = json.loads(Path("cvl-report/report.json").read_text())["rows"]
    assert (row["status"], row["baseline"]) == ("worse", BASE)


def test_a_pull_is_found_by_its_commit_where_a_branch_was_started(job: Job, api: Api, store: Store) -> None:
    api.pulls = [fake.pull(5, sha=HEAD)]
    job.on("workflow_dispatch", {})
    upload_costs(store, CLEAN)
    job.step("report")
    assert len(api.bodies()) == 1
