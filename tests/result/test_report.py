"""The Markdown report is short, says the worst first, and nothing a machine said can become Markdown in it."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from cvl_ci.model.outcome import FetchedFile
from cvl_ci.result.report import (
    COMMENT_BYTES,
    CUT,
    Link,
    code,
    comment,
    comment_so_far,
    group_comment,
    group_row,
    job_summary,
    marker,
)
from tests import golden
from tests.result.outcomes import EVERY, HOSTILE, KEPT, NOT_PROVED_GONE, SUCCEEDED
from tests.support.cases import generated

MESSAGES = golden.Messages(__name__)

OUR_TAGS = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "code", "strong", "br", "blockquote"}
OUR_HTML = {"details", "summary"}


@pytest.mark.parametrize("name", EVERY)
def test_report_reads_as_in_its_golden_file(name: str) -> None:
    golden.check(f"{name}.md", job_summary(EVERY[name]))


def test_a_machine_that_is_kept_is_told_on_top_with_its_price_its_way_in_and_its_end() -> None:
    head = job_summary(KEPT).partition("| | |")[0]
    assert "[!NOTE]" in head and "[!CAUTION]" not in head
    for told in ("2026-09-21T14:23:20Z", "$0.016 more at $0.096 an hour", "`ssh ubuntu@203.0.113.7`"):
        assert told in head
    assert "down cvl-3f9a1c-digits --cloud aws`" in head
    assert "may still be running" not in group_row(KEPT, leg="L4", run=Link(text="log", url="https://x.test"))


def test_a_machine_that_may_run_is_an_alarm_with_the_command_to_type() -> None:
    report = job_summary(NOT_PROVED_GONE)
    assert "> [!CAUTION]" in report
    assert "> `cvl-ci down cvl-3f9a1c-digits`" in report


def test_hostile_text_renders_as_code_and_nothing_else() -> None:
    assert foreign_tags(job_summary(HOSTILE)) == set()
    assert "@" not in outside_code(job_summary(HOSTILE))
    assert "#" not in outside_code(job_summary(HOSTILE))


def test_hostile_text_adds_no_row_and_no_cell() -> None:
    for outcome in (HOSTILE, SUCCEEDED):
        html = render(job_summary(outcome))
        assert html.count("<td>") == 2 * (html.count("<tr>") - 1)


def test_no_mixture_of_markup_gets_out_of_its_span() -> None:
    dice = random.Random(20)
    pieces = [
        "`",
        "``",
        "```",
        "|",
        "\\",
        "\\|",
        "<b>",
        "</code>",
        "@a",
        "#1",
        "\n",
        "\n\n",
        " ",
        "x",
        "](y)",
        "![",
        "*",
    ]
    for _ in range(generated(600)):
        text = "".join(dice.choice(pieces) for _ in range(dice.randint(1, 12)))
        report = job_summary(
            replace(
                SUCCEEDED,
                reason=text,
                work=replace(SUCCEEDED.work, title=text),
                files=replace(SUCCEEDED.files, fetched=(FetchedFile(path=text, bytes=1),)),
            )
        )
        assert foreign_tags(report) == set(), text
        assert not re.search(r"[@#]", outside_code(report)), text
        assert render(report).count("<td>") == 2 * (render(report).count("<tr>") - 1), text


def test_a_long_name_is_cut_and_a_long_list_counted() -> None:
    files = tuple(FetchedFile(path="x" * 10_000 + str(number), bytes=1) for number in range(5_000))
    report = job_summary(replace(SUCCEEDED, files=replace(SUCCEEDED.files, fetched=files)))
    assert "and 4950 more" in report
    assert len(report) < 30_000


def test_an_empty_string_is_still_a_span() -> None:
    assert code("") == "` `"


def render(report: str) -> str:
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(report)
    assert isinstance(html, str)
    return html


def foreign_tags(report: str) -> set[str]:
    """Tags of the rendered page that are none of ours."""
    return {tag.lower() for tag in re.findall(r"</?([a-zA-Z!-][a-zA-Z0-9!-]*)", render(report))} - OUR_TAGS - OUR_HTML


def outside_code(report: str) -> str:
    """The page's text without code: where GitHub looks for mentions and issue numbers."""
    return re.sub(r"<[^>]+>", "", re.sub(r"<code[^>]*>.*?</code>", "", render(report), flags=re.DOTALL))


# ---- the comment on a pull request --------------------------------------------------------------------------------

RUN = Link(text="log of the run", url="https://github.com/cvl/ci/actions/runs/7")
MARK = marker("0a1b2c")
TAIL = (
    "epoch 1 loss 0.5",
    "```",
    "</details> @torvalds #1 <!-- cvl-ci:0a1b2c -->",
    "Traceback (most recent call last):",
)


@pytest.mark.parametrize("name", EVERY)
def test_comment_reads_as_in_its_golden_file(name: str) -> None:
    artifacts = [Link(text="outputs", url="https://github.com/cvl/ci/actions/runs/7/artifacts/1")]
    golden.check(f"comment_{name}.md", comment(EVERY[name], marker=MARK, run=RUN, tail=TAIL, artifacts=artifacts))


def test_comment_while_it_runs_reads_as_in_its_golden_file() -> None:
    doing = "running on aws/us-east-1a at $0.096 an hour"
    golden.check("comment_so_far.md", comment_so_far(title="digits train", doing=doing, marker=MARK, run=RUN))


def test_comment_of_many_legs_reads_as_in_its_golden_file() -> None:
    text = ""
    for key, leg in (("b", "gpu: L4"), ("a", "gpu: A10G"), ("b", "gpu: L4 | again"), ("c", "gpu: T4")):
        row = group_row(NOT_PROVED_GONE if key == "c" else SUCCEEDED, leg=leg, run=RUN)
        text = group_comment(text, title="nightly", marker=MARK, key=key, row=row)
    golden.check("comment_group.md", text)


def test_the_tail_of_a_log_renders_as_text_and_closes_nothing() -> None:
    html = render(comment(HOSTILE, marker=MARK, run=RUN, tail=TAIL))
    assert html.count("<pre>") == 1
    assert html.count("<!--") == 1
    assert "@torvalds" not in re.sub(r"<(code|pre)\b.*?</\1>", "", html, flags=re.DOTALL)
    assert html.count("</details>") == html.count("<details>")


def test_no_line_of_a_log_gets_out_of_its_fence() -> None:
    dice = random.Random(3)
    pieces = ["`", "```", "~~~", "\n", "\r", "x", "</details>", "<b>", "    ", "@a", "\x00", "text"]
    for _ in range(generated(600)):
        tail = tuple("".join(dice.choice(pieces) for _ in range(dice.randint(0, 8))) for _ in range(5))
        html = render(comment(SUCCEEDED, marker=MARK, run=RUN, tail=tail))
        assert html.count("<pre>") == 1, tail
        assert "@a" not in re.sub(r"<(code|pre)\b.*?</\1>", "", html, flags=re.DOTALL), tail


def test_a_report_too_long_loses_whole_blocks_from_its_end_and_says_so() -> None:
    whole = job_summary(SUCCEEDED)
    for room in range(len(whole.encode()), 0, -7):
        text = job_summary(SUCCEEDED, room=room)
        assert len(text.encode()) <= room
        assert text.count("<details>") == text.count("</details>")
        assert text in {"", whole} or text.endswith(f"{CUT}\n")


def test_a_comment_never_passes_what_github_takes() -> None:
    tail = ("`" * 299 + "ü",) * 1_000
    assert len(comment(SUCCEEDED, marker=MARK, run=RUN, tail=tail).encode()) <= COMMENT_BYTES


def test_a_machine_that_may_run_stays_above_all_however_little_room_there_is() -> None:
    assert "[!CAUTION]" in job_summary(NOT_PROVED_GONE, room=400)
