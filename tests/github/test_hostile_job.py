"""A job that wants to do harm: nothing it prints, writes or is called takes effect, and no secret is read anywhere.

What the runner would do is judged by a model of its parser (tests/github/runner.py), what a page would show by a
renderer of Markdown.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from cvl_ci.action.publication import StepPublication
from cvl_ci.action.step import Step
from cvl_ci.engine.job_log import JobLog
from cvl_ci.model.outcome import FetchedFile, Phase
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.command_shield import log_line
from cvl_ci.result.first_errors import FirstErrors
from cvl_ci.result.masks import Masks
from cvl_ci.result.sanitize import plain
from tests.github.api import URL, Api
from tests.github.runner import Runner, read_file
from tests.peers import node
from tests.result.outcomes import FAILED
from tests.result.test_report import OUR_HTML, OUR_TAGS, foreign_tags, outside_code
from tests.support.hostile import LINES, MARKDOWN, NAMES, SECRET, as_read, interrupted, spoken
from tests.support.processor import within

LONG_LINE = 300_000
FILES = ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that anybody could read of the run."""

    runner: Runner
    comment: str
    files: Mapping[str, str]
    kept: Mapping[str, str]

    def everywhere(self) -> dict[str, str]:
        lines = [data + json.dumps(properties) for name, properties, data in self.runner.obeyed if name != "add-mask"]
        places = {"step log": "\n".join(self.runner.log), "annotations": "\n".join(lines), "comment": self.comment}
        return {**places, **self.files, **self.kept}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    monkeypatch.chdir(tmp_path)
    with Api().serving() as api:
        step = Step(environment(tmp_path))
        harm(step)
        bodies = api.bodies()
    assert len(bodies) == 1
    kept = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("cvl-outputs/*.*")}
    assert len(kept) == 2, "the log and the cost"
    files = {name: (tmp_path / name).read_text(encoding="utf-8") for name in FILES}
    return Told(runner=Runner().read(capsys.readouterr().out), comment=bodies[0], files=files, kept=kept)


def environment(folder: Path) -> dict[str, str]:
    ours = {"repo": {"full_name": "cvl/ci"}}
    (folder / "event.json").write_text(json.dumps({"pull_request": {"number": 5, "head": ours, "base": ours}}))
    for name in FILES:
        (folder / name).touch()
    return {
        "HOME": str(folder),
        "GITHUB_API_URL": URL,
        "GITHUB_SERVER_URL": "https://git.example.com",
        "GITHUB_REPOSITORY": "cvl/ci",
        "GITHUB_RUN_ID": "7",
        "GITHUB_JOB": "train",
        "GITHUB_WORKFLOW": "nightly",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "INPUT_GITHUB_TOKEN": "secret-token",
        "HF_TOKEN": SECRET,
        **{name: str(folder / name) for name in FILES},
    }


def harm(step: Step) -> None:
    """Whatever comes from a machine or a provider, and so may be anything."""
    step.live.queue(RunPlan(title="digits train"))
    step.reporter.show_phase(Phase.RUNNING)
    for line in LINES:
        step.reporter.show_job_line(line)
    for text in (*LINES[::50], *MARKDOWN, *spoken(SECRET).values()):
        step.reporter.progress(f"provider: {text}")
    for text in (LINES[0], SECRET, *MARKDOWN[:5]):
        step.reporter.notice(text)
        step.reporter.warning(text)
    step.reporter.show_phase(Phase.RELEASING)
    for line in (*MARKDOWN, *spoken(SECRET).values(), *interrupted(SECRET)):  # the last lines, which the comment shows
        step.reporter.show_job_line(line)
    outcome = replace(
        FAILED,
        reason="\n".join([*MARKDOWN, *spoken(SECRET).values(), *interrupted(SECRET)]),
        files=replace(FAILED.files, fetched=tuple(FetchedFile(path=name, bytes=1) for name in NAMES), refused=NAMES),
        measurements=replace(FAILED.measurements, metrics={name: name for name in NAMES}),
        warnings=NAMES,
    )
    StepPublication(step).publish(outcome)
    step.reporter.close()


def test_no_command_of_the_job_takes_effect(told: Told) -> None:
    assert {name for name, _, _ in told.runner.obeyed} == {
        "add-mask",
        "group",
        "endgroup",
        "notice",
        "warning",
        "error",
    }
    assert told.runner.stopped_by == ""
    known = Masks()
    known.add(SECRET, "secret-token")
    assert {data for name, _, data in told.runner.obeyed if name == "add-mask"} <= {*known._forms}
    assert {data.partition(" [")[0] for name, _, data in told.runner.obeyed if name == "group"} == {
        *("Running", "Taking the machines down")
    }
    assert {key for _, properties, _ in told.runner.obeyed for key in properties} <= {"title", "file"}
    assert not any("file" in properties for name, properties, _ in told.runner.obeyed if name != "error")


def test_the_lines_of_this_test_would_take_effect_without_the_shield() -> None:
    assert len(Runner().read("\n".join(line for line in LINES if "stop-commands" not in line)).obeyed) > 100


def test_no_output_and_no_state_is_the_job_s(told: Told) -> None:
    outputs, state = (read_file(told.files[name]) for name in ("GITHUB_OUTPUT", "GITHUB_STATE"))
    assert outputs["ending"] == "failed"
    assert {*state} == {"step_state"}
    assert not {*outputs} & {"name", "other"}


def test_no_secret_is_read_anywhere_however_it_is_written(told: Told) -> None:
    for way, form in spoken(SECRET).items():
        # In base64 the first and last signs are the neighbours' too, and tell nothing.
        told_form = form[6:-6]
        for place, text in told.everywhere().items():
            assert told_form not in as_read(text), f"{way} in {place}"
    assert all("***" in told.everywhere()[place] for place in ("step log", "comment", "GITHUB_STEP_SUMMARY"))


def test_the_pages_show_what_the_job_says_as_code_and_nothing_else(told: Told) -> None:
    marker, _, comment = told.comment.partition("\n")
    assert marker.startswith("<!-- cvl-ci:")
    for page in (comment, told.files["GITHUB_STEP_SUMMARY"]):
        assert foreign_tags(page) - {"a", "pre"} == set()
        assert "@" not in outside_code(page)
        assert "#" not in outside_code(page)
        assert "evil" not in outside_code(page)
        assert page.count("<details>") == page.count("</details>")


@pytest.mark.peers
def test_as_github_renders_them_the_pages_hold_no_element_and_no_link_but_ours(
    told: Told, tmp_path: Path, official: None
) -> None:
    """Its flavour makes links of bare addresses, and footnotes, tasks and tables of what looks like them."""
    pages = [told.comment.partition("\n")[2], told.files["GITHUB_STEP_SUMMARY"]]
    (tmp_path / "pages.json").write_text(json.dumps([*pages, "\n\n".join(MARKDOWN[9:])]))
    *rendered, unguarded = cast("list[str]", node.run("markdown.mjs", tmp_path / "pages.json", environ={})["html"])
    for html in rendered:
        assert tags(html) <= OUR_TAGS | OUR_HTML | {"a", "pre"}
        assert set(re.findall(r'href="([^"]*)"', html)) <= {"https://git.example.com/cvl/ci/actions/runs/7/attempts/1"}
        text = re.sub(r"<[^>]+>", "", re.sub(r"<code[^>]*>.*?</code>", "", html, flags=re.DOTALL))
        assert not re.search(r"[@#]|evil|GH-|:tada:", text), text
    assert {"img", "input", "a", "h1"} <= tags(unguarded), "this renderer sees what it is asked about"


def tags(html: str) -> set[str]:
    return {tag.lower() for tag in re.findall(r"</?([a-zA-Z!-][a-zA-Z0-9!-]*)", html)}


def test_the_log_that_is_kept_holds_every_line(told: Told) -> None:
    [log] = [text for name, text in told.kept.items() if name.endswith(".log")]
    for line in ("::set-output name=ending::mine", "</code></pre></details>", "##[endgroup]"):
        assert f"{line}\n" in log


# ---- one line, made to take long -------------------------------------------------------------------------------------

UNITS = (
    *("\x9d", "\x90xxxx", "\x1b]", "\x1b[", "\x1b[1;", "\x9b0", "\x1bP\x1b\\", "\x1b ", " ", "\r", "\u2028"),
    *("::", "##[", "[a", "(a, rank=1 pid=1", "<", "<sky-payload", "<heartbeat>", "</rich_", "View logs:"),
    *("1/", "1 ", "A", "Error", "Traceback", "`", "\\", "|", SECRET[:6]),
)


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_a_line_is_read_in_a_time_that_grows_with_its_length_alone(unit: str) -> None:
    masks = Masks()
    masks.add(SECRET)
    line = unit * (LONG_LINE // len(unit))
    for read in (JobLog(num_nodes=1).read, masks.hide, log_line, plain, FirstErrors().line):
        assert within(seconds(read, line), 2), read


def seconds(read: Callable[[str], object], line: str) -> float:
    start = time.process_time()
    read(line)
    return time.process_time() - start
