"""What a person sees of a run on GitHub, judged by the runner's own rules: log, annotations, files, summary."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.github.log.reporter import TAIL_LINES, GitHubRunReporter
from cvl_ci.github.log.workflow_commands import LONGEST_ANNOTATION, MOST_ANNOTATIONS, SUMMARY_BYTES
from cvl_ci.model.outcome import FetchedFile, Outcome, Phase
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.result.masks import Masks, forms
from cvl_ci.result.report import job_summary
from tests import golden
from tests.github.runner import Runner, read_file
from tests.result.outcomes import EVERY, FAILED, HOSTILE, NOT_PROVED_GONE, SUCCEEDED
from tests.support.fakes import FakeClock, spending
from tests.support.processor import within

SECRET = "hf_0123456789abcdef"


def summarise(outcome: Outcome, tail: tuple[str, ...], room: int) -> str:
    return job_summary(outcome, tail=tail, room=room)


class Step:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.out = io.StringIO()
        self.folder = folder
        self.files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")}
        for path in self.files.values():
            Path(path).touch()
        self.reporter = GitHubRunReporter(
            out=self.out,
            clock=self.clock,
            files=self.files,
            masks=Masks(),
            log=folder / "logs" / "job.log",
            summarise=summarise,
        )

    def runner(self) -> Runner:
        return Runner().read(self.out.getvalue())

    def written(self, name: str) -> str:
        return Path(self.files[name]).read_text(encoding="utf-8")


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    step = Step(tmp_path)
    yield step
    step.reporter.close()


@pytest.mark.parametrize("phase", Phase)
def test_the_log_names_every_phase(step: Step, phase: Phase) -> None:
    step.reporter.show_phase(phase)
    assert step.out.getvalue().startswith("::group::")


def a_run(step: Step, outcome: Outcome) -> None:
    reporter = step.reporter
    reporter.show_phase(Phase.PROVISIONING)
    reporter.show("asking aws/us-east-1a for 1 × m5.large")
    reporter.show_price(spending(0.096, billed=True))
    step.clock.sleep(48)
    reporter.progress("Launching on AWS us-east-1")
    reporter.show_phase(Phase.RUNNING)
    reporter.show_job_line("epoch 1 loss 0.5")
    reporter.show_job_line("::error::mine")
    step.clock.sleep(12)
    reporter.show_phase(Phase.RELEASING)
    reporter.show_outcome(outcome)


def test_a_whole_run_reads_as_in_its_golden_file(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "RANDOM")
    a_run(step, FAILED)
    golden.check("github_log.txt", step.out.getvalue().replace(str(step.folder), "FOLDER"))


@pytest.mark.parametrize("outcome", EVERY.values(), ids=EVERY)
def test_only_our_own_words_are_obeyed_whatever_the_outcome_holds(step: Step, outcome: Outcome) -> None:
    a_run(step, outcome)
    names = [name for name, _, _ in step.runner().obeyed]
    failed = [] if outcome.exit_code == 0 else ["error"]
    assert names == ["group", "endgroup", "group", "endgroup", "group", "endgroup", *failed]
    assert step.runner().stopped_by == ""


def test_what_a_provider_says_is_not_obeyed(step: Step) -> None:
    evil = "sorry\n::set-output name=a::b\r##[add-path]/evil\n\u00a0::save-state name=a::b"
    for say in (step.reporter.notice, step.reporter.warning, step.reporter.progress):
        for _ in range(12):
            say(evil)
    assert {name for name, _, _ in step.runner().obeyed} == {"notice", "warning"}


def test_annotations_stop_at_ten_of_a_kind_and_go_on_as_lines(step: Step) -> None:
    for number in range(15):
        step.reporter.warning(f"number {number}")
    assert len(step.runner().commands("warning")) == MOST_ANNOTATIONS
    assert "number 14" in step.runner().log[-2]


def test_an_annotation_is_cut_at_what_the_runner_takes(step: Step) -> None:
    step.reporter.warning("x" * 10_000)
    assert len(step.runner().commands("warning")[0]) == LONGEST_ANNOTATION


def test_an_annotation_of_many_lines_stays_one(step: Step) -> None:
    step.reporter.warning("one: 100%\ntwo, three")
    assert step.runner().commands("warning") == ["one: 100%\ntwo, three"]


def test_a_secret_is_in_no_log_file_summary_or_annotation(step: Step) -> None:
    step.reporter.mask(SECRET)
    step.reporter.show_job_line(f"token={SECRET}")
    step.reporter.show_job_line(f"in \x1b[31m{SECRET[:8]}\x1b[0m{SECRET[8:]}")
    step.reporter.warning(f"bad {SECRET}")
    step.reporter.show_outcome(
        replace(
            FAILED,
            reason=f"{SECRET} refused",
            measurements=replace(FAILED.measurements, metrics={SECRET: SECRET}),
            warnings=(SECRET,),
        )
    )
    everything = [*step.runner().log, *step.runner().commands("error", "warning", "notice")]
    everything += [path.read_text() for path in step.folder.rglob("*") if path.is_file()]
    assert SECRET not in "".join(everything)
    assert "***" in step.written("GITHUB_STEP_SUMMARY")


def test_masks_come_before_the_words_that_hold_them(step: Step) -> None:
    step.reporter.mask(SECRET)
    assert step.out.getvalue().startswith(f"::add-mask::{SECRET}\n")


def test_the_file_keeps_every_line_of_a_flood(step: Step) -> None:
    for number in range(50_000):
        step.reporter.show_job_line(f"line {number}")
    step.reporter.close()
    kept = (step.folder / "logs" / "job.log").read_text().splitlines()
    assert kept == [f"line {number}" for number in range(50_000)]
    assert len(step.out.getvalue()) < 100_000


def test_a_flood_costs_a_step_seconds_and_not_minutes(step: Step) -> None:
    import time

    start = time.process_time()
    for number in range(50_000):
        step.reporter.show_job_line(f"line {number}")
    step.reporter.close()
    assert within(time.process_time() - start, 5)


def test_a_full_disk_is_told_once_and_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    step = Step(tmp_path)
    for _ in range(3):
        step.reporter.show_job_line("x")
    step.reporter.close()
    assert len(step.runner().commands("warning")) == 1
    assert step.runner().log.count("x") == 3


def test_a_runner_that_no_longer_reads_ends_no_run(step: Step) -> None:
    step.out.close()
    a_run(step, SUCCEEDED)
    assert "Succeeded" in step.written("GITHUB_STEP_SUMMARY")


def test_what_the_run_does_is_told_with_its_time_and_a_table_with_a_bar(step: Step) -> None:
    step.clock.sleep(61)
    step.reporter.show("asking aws/us-east-1a for 1 × m5.large")
    step.reporter.show("two\nlines")
    assert step.out.getvalue() == "[1:01] asking aws/us-east-1a for 1 × m5.large\n│ two\n│ lines\n"


def test_text_that_is_no_unicode_ends_no_run(step: Step) -> None:
    step.reporter.show_job_line("\ud800 lone")
    step.reporter.commands.output("x", "\ud800")
    step.reporter.close()
    assert "\ufffd lone" in step.out.getvalue()


def test_a_page_that_cannot_be_written_is_told_and_all_else_is_written(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        "\ud800".encode()
        return ""

    monkeypatch.setattr(step.reporter, "_summarise", broken)
    a_run(step, FAILED)
    assert len(step.runner().commands("error")) == 1
    assert "│ " in step.out.getvalue()
    [warning] = step.runner().commands("warning")
    assert "could not be written (UnicodeEncodeError" in str(warning)


def test_names_of_files_that_are_no_text_are_shown_on_the_page(step: Step) -> None:
    odd = replace(
        FAILED,
        files=replace(FAILED.files, fetched=(FetchedFile(path="caf\udce9.txt", bytes=1),), refused=("'\ud800': odd",)),
    )
    a_run(step, odd)
    assert "caf\ufffd.txt" in step.written("GITHUB_STEP_SUMMARY")
    assert step.runner().commands("warning") == []


@pytest.mark.parametrize("link", ["logs", "logs/job.log"])
def test_the_log_is_not_written_through_a_link_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "elsewhere" / ("" if link == "logs" else "job.log"))
    step = Step(tmp_path)
    step.reporter.show_job_line("x")
    step.reporter.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert "is a link to another place" in step.out.getvalue()


def test_outputs_and_state_are_read_back_as_they_were(step: Step) -> None:
    values = {"plain": "x", "lines": "a\nb\n\nc", "empty": "", "hostile": "x<<EOF\nEOF\nother=1\n::set-output::"}
    for name, value in values.items():
        step.reporter.commands.output(name, value)
        step.reporter.commands.state(name, value)
    assert read_file(step.written("GITHUB_OUTPUT")) == values
    assert read_file(step.written("GITHUB_STATE")) == values


def test_no_two_values_share_a_delimiter(step: Step) -> None:
    step.reporter.commands.output("a", "1")
    step.reporter.commands.output("b", "2")
    text = step.written("GITHUB_OUTPUT")
    assert len({line.partition("<<")[2] for line in text.splitlines() if "<<" in line}) == 2


def test_without_a_runner_s_files_nothing_is_written_and_nothing_fails(tmp_path: Path) -> None:
    step = Step(tmp_path)
    step.files.clear()
    step.reporter.commands.output("a", "1")
    step.reporter.show_outcome(SUCCEEDED)
    assert step.reporter.commands.summary(lambda room: "x") is False


def test_the_summary_fits_beside_what_the_step_wrote_already(step: Step) -> None:
    Path(step.files["GITHUB_STEP_SUMMARY"]).write_text("x" * (SUMMARY_BYTES - 600))
    step.reporter.show_outcome(HOSTILE)
    assert len(step.written("GITHUB_STEP_SUMMARY").encode()) <= SUMMARY_BYTES
    assert "The job failed" in step.written("GITHUB_STEP_SUMMARY")


def test_a_summary_that_finds_no_room_at_all_is_left_out(step: Step) -> None:
    Path(step.files["GITHUB_STEP_SUMMARY"]).write_text("x" * SUMMARY_BYTES)
    step.reporter.show_outcome(SUCCEEDED)
    assert len(step.written("GITHUB_STEP_SUMMARY")) == SUMMARY_BYTES


def test_the_tail_is_the_last_lines_without_controls(step: Step) -> None:
    for number in range(100):
        step.reporter.show_job_line(f"\x1b[31mline {number}\x1b[0m")
    assert step.reporter.tail == tuple(f"line {number}" for number in range(100 - TAIL_LINES, 100))


def test_a_machine_that_may_run_is_an_error_on_the_page_even_when_the_job_was_fine(step: Step) -> None:
    step.reporter.show_outcome(NOT_PROVED_GONE)
    [(_, properties, _)] = [one for one in step.runner().obeyed if one[0] == "error"]
    assert properties["title"].startswith("A MACHINE MAY STILL BE RUNNING")


def test_last_words_close_the_block_that_was_open(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+", encoding="utf-8") as out:
        step = Step(tmp_path)
        step.reporter._out = out
        step.reporter.show_job_line("half a")
        step.reporter.write_from_signal("::notice::handed over")
        out.seek(0)
        runner = Runner().read(out.read())
        step.reporter.close()
    assert runner.obeyed == [("notice", {}, "handed over")]


PLAN = RunPlan(title="digits fail", work=WorkPlan(example_path="examples/tabular/digits_sgd/example.yaml"))


def test_a_failed_job_says_why_in_its_own_words_on_its_example_s_file(step: Step) -> None:
    step.reporter.show_quote(PLAN, "a quote")
    for line in (
        "epoch 1",
        "Traceback (most recent call last):",
        '  File "train.py", line 3',
        "ValueError: ##[error]no",
    ):
        step.reporter.show_job_line(line)
    step.reporter.mask(SECRET)
    step.reporter.show_outcome(FAILED)
    [(_, properties, text)] = [one for one in step.runner().obeyed if one[0] == "error"]
    assert properties["file"] == "examples/tabular/digits_sgd/example.yaml"
    assert text.splitlines()[0] == "The job exited with 7 on the machine."
    assert text.splitlines()[1:3] == ["Traceback (most recent call last):", '  File "train.py", line 3']
    assert "##[" not in text


@pytest.mark.parametrize("outcome", [NOT_PROVED_GONE, EVERY["no_capacity"], EVERY["cancelled"]])
def test_what_is_not_the_job_s_fault_is_not_put_on_its_file(step: Step, outcome: Outcome) -> None:
    step.reporter.show_quote(PLAN, "a quote")
    step.reporter.show_job_line("ValueError: no")
    step.reporter.show_outcome(outcome)
    [(_, properties, text)] = [one for one in step.runner().obeyed if one[0] == "error"]
    assert "file" not in properties
    assert "ValueError" not in text


def test_a_job_s_words_in_an_annotation_are_masked_cut_and_obeyed_by_nobody(step: Step) -> None:
    step.reporter.mask(SECRET)
    step.reporter.show_quote(PLAN, "a quote")
    for line in (f"error: {SECRET}", "::error::mine", "error: \x1b[31m::add-mask::x", f"error: {'x' * 9_000}"):
        step.reporter.show_job_line(line)
    step.reporter.show_outcome(FAILED)
    [(_, _, text)] = [one for one in step.runner().obeyed if one[0] == "error"]
    assert SECRET not in text
    assert "***" in text
    assert "\x1b" not in text
    assert len(text) <= LONGEST_ANNOTATION
    assert [name for name, _, _ in step.runner().obeyed].count("add-mask") == len(set(forms(SECRET)))
