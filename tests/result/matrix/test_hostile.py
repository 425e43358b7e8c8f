"""Whatever stands in a summary, a line of history or a baseline: a report is made, and the other legs are in it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands import report as reporting
from cvl_ci.local import run_files
from cvl_ci.result import outputs
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.leg_file import LARGEST_BYTES, line, read
from cvl_ci.result.matrix import markdown, regressions
from cvl_ci.result.matrix.report import ReportPolicy, report
from cvl_ci.result.report import COMMENT_BYTES, SUMMARY_BYTES, Link
from tests import golden
from tests.result.benchmark.legs import NIGHT, leg, summary

MESSAGES = golden.Messages(__name__)

INPUTS = 1_000
BASE, HEAD = "b" * 40, "c" * 40
GOOD = [0.9, 0.91, 0.89, 0.905, 0.895]
POLICY = ReportPolicy(fail_on_regression=True, fail_on_infrastructure=True)
BARE = replace(run_files.assets(), styles=["s{}"], scripts=["1;"], licence="free")

FIELDS = (*summary(), "gpu", "samples", "comparison", "driver", "image", "at", "title")
DEEP = 400


def deep(inner: str) -> str:
    return "[" * DEEP + inner + "]" * DEEP


def deeper(inner: str) -> str:
    return '{"metrics":' * DEEP + (inner or "1") + "}" * DEEP


VALUES = (
    *("null", "true", "false", "0", "-1", "1", "-0.0", "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e18"),
    *("1e300", "-1e300", "1e-320", "9" * 400, "-" + "9" * 4000, "253402300800", "32503679999", "1e12", "1e15", "0.5"),
    *(
        '""',
        '"x"',
        '"NaN"',
        '"1e18"',
        '"0001-01-01T00:00:00Z"',
        '"9999-12-31T23:59:59Z"',
        '"9999-12-31T23:59:59-14:00"',
    ),
    *('"\\ud800"', '"\\udfff\\ud800"', '"\\u0000\\u001b[2J\\u202e"', '"</script><!--"', '"`|`\\n## x"', '"cvl-good-1"'),
    *('"succeeded"', '"never_started"', '"failed"', '"worse"', '"https://x.example/)"', f'"{"é" * 5000}"'),
    *("[]", "{}", "[[]]", "[null]", "[1, NaN, 1e999, true]", "[{}]", '{"": 1}', '{"\\ud800": 1}', '{"a": {"b": NaN}}'),
    *(deep("1"), deep(""), deeper(""), deeper('"x"'), '{"L4": ' + deep("") + "}"),
    *('{"accuracy": "\\ud800"}', '{"accuracy": -1}', '{"accuracy": 1e300, "loss": -1e300, "x": 1e-320}'),
    '[{"error": [], "cloud": {}, "accelerators": {"x": []}}, 7, null, {"instance_type": 5}]',
    '{"gone": true, "at": 1e18}',
    '{"gone": true, "at": "9999-12-31T23:59:59Z"}',
    '{"changes": [{"metric": "accuracy", "head": 1e300, "base": 1e-320, "change": NaN, "verdict": "worse"}]}',
    '{"changes": [{"metric": "accuracy", "head": null, "base": true, "change": 1e999, "verdict": "changed"}, 1]}',
    '{"ref": [], "changes": [{"metric": "accuracy", "head": null, "base": null, "verdict": "unsure"}]}',
    "{" + ", ".join(f'"m{at}": {at}' for at in range(400)) + "}",
)
HUGE = (f'"{"x" * 7_000_000}"', "[" + "1," * 1_000_000 + "1]", '"' + "\\u001b[" * 500_000 + '"')


def hostile(dice: random.Random) -> bytes:
    """A summary of which some fields are something else, or are not there."""
    said = summary(cluster=f"cvl-bad-{dice.random()}", commit=dice.choice([BASE, HEAD, ""]), at=NIGHT)
    texts = {name: json.dumps(value) for name, value in said.items()}
    for _ in range(dice.choice([1, 1, 1, 2, 3, 8, 20])):
        name = dice.choice(FIELDS)
        if dice.random() < 0.1:
            texts.pop(name, None)
        elif name != "ending" or dice.random() < 0.3:
            texts[name] = dice.choice(HUGE) if dice.random() < 0.004 else dice.choice(VALUES)
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + "}").encode()


def taken(content: bytes) -> Leg | None:
    """A leg, the same again from its line of history; or told as unreadable, by ValueError alone."""
    try:
        found = read(content)
    except ValueError:
        return None
    again = read(line(found).encode())
    assert (again.key, again.measurements.metrics, again.measurements.samples, again.source.at) == (
        found.key,
        found.measurements.metrics,
        found.measurements.samples,
        found.source.at,
    )
    return found


def good(commit: str, *values: float) -> list[Leg]:
    return [
        leg(
            cluster=f"cvl-good-{commit[0]}{at}",
            commit=commit,
            at=NIGHT + at,
            example="good",
            metrics={"accuracy": value},
        )
        for at, value in enumerate(values)
    ]


def sound(written: dict[str, str]) -> None:
    assert all(text.encode() for text in written.values()), "every one can be written"
    assert len(written[reporting.COMMENT]) <= COMMENT_BYTES
    assert len(written[reporting.SUMMARY].encode()) <= SUMMARY_BYTES
    page = written[reporting.PAGE]
    assert (page.count("<script"), page.count("</script>"), page.count("<!--")) == (2, 2, 1)
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    json.loads(data[1], parse_constant=pytest.fail)
    json.loads(written[reporting.DATA], parse_constant=pytest.fail)
    assert not any(sign in text for text in written.values() for sign in ("\x1b", "\u202e", "\x00"))


def test_no_summary_ends_a_report_or_loses_another_leg() -> None:
    """Each one as a leg of this run, as earlier runs, and as the base itself, beside legs that are good."""
    dice = random.Random("hostile summaries")
    read_at_all = made = 0
    while made < INPUTS:
        contents = [hostile(dice) for _ in range(dice.choice([1, 3, 8]))]
        made += len(contents)
        bad = [one for content in contents if (one := taken(content)) is not None]
        read_at_all += len(bad)
        current, earlier = good(HEAD, *(0.5 * one for one in GOOD)), good(BASE, *GOOD)
        found = report(
            [*bad, *current],
            history=[*earlier, *bad],
            commits=dice.choice([[BASE], [HEAD, BASE], []]),
            policy=POLICY,
            troubles=["cvl-x.json is not JSON"],
        )
        [row] = [row for row in found.rows if row.key.example == "good"]
        assert (len(row.legs), [one.metric for one in row.comparison.worse]) == (5, ["accuracy"])
        assert sum(len(row.legs) for row in found.rows) == len(
            {one.machines.cluster or id(one) for one in [*bad, *current]}
        )
        written = dict(reporting.files(found, assets=BARE, settings=reporting.Settings()))
        sound(written)
        assert all("good" in text for text in written.values())
        run = Link(text="run", url="https://x.example")
        assert markdown.issue(found, run=run, page="") and reporting.as_text(found)
        assert regressions.bad(found) and regressions.title(found, workflow="w")
        assert set(regressions.fine(found)).isdisjoint(regressions.bad(found)) or bad
        assert outputs.reported(found, reason="", folder="", issue="")["exit_code"] == str(found.exit_code)
    assert INPUTS * 0.5 < read_at_all < made, "most are read, and some are not"


@pytest.mark.parametrize(
    "at", ["1e18", "1e300", "-5", '"9999-12-31T23:59:59Z"', '"9999-12-31T23:59:59-14:00"', "[]", "{}"]
)
def test_a_time_at_which_nobody_ran_anything_is_no_time(at: str) -> None:
    for content in (f'{{"ending": "succeeded", "at": {at}}}', f'{{"ending": "succeeded", "released": {{"at": {at}}}}}'):
        one = read(content.encode())
        assert one.source.at == 0.0
        assert report([one]).nights == ()


ENDINGS = ("[]", "{}", "null", "5", "1e999", "true", '"won"', '"\\ud800"', '["succeeded"]')


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_summary_whose_ending_is_none_is_told_as_unreadable(ending: str, tmp_path: Path) -> None:
    (tmp_path / "cvl-bad.json").write_text(f'{{"ending": {ending}, "cluster": "cvl-bad"}}')
    (tmp_path / "cvl-good.json").write_text(json.dumps(summary()))
    (tmp_path / "cvl-other.json").write_text('{"something": "else"}')
    found, troubles = run_files.gather([str(tmp_path)], field="FOLDER")
    assert [one.machines.cluster for one in found] == ["cvl-1-00000001"]
    MESSAGES.check("unreadable summaries", troubles)


def test_a_history_s_lines_that_are_no_runs_are_counted_and_the_others_are_read(tmp_path: Path) -> None:
    lines = [line(leg()), '{"ending": []}', "", '{"ending": "succ', "[" * 100_000, line(leg(cluster="b"))]
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    found, troubles = run_files.gather([str(tmp_path / "history.jsonl")], field="--history-files")
    assert len(found) == 2
    MESSAGES.check("lines that are not runs", troubles)


def test_a_file_s_name_that_is_no_text_can_be_told_of(tmp_path: Path) -> None:
    name = b"cvl-\xff\x1b[2J.json".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_text("{")
    _, troubles = run_files.gather([str(tmp_path)], field="FOLDER")
    written = reporting.files(report([leg()], troubles=troubles), assets=BARE, settings=reporting.Settings())
    assert all(text.encode() and "\x1b" not in text for text in written.values())
    assert len(troubles) == 1


BIG: dict[str, Callable[[], str]] = {
    "too large": lambda: '{"ending": "succeeded", "reason": "' + "x" * (LARGEST_BYTES + 1) + '"}',
    "too deep": lambda: '{"ending": "succeeded", "metrics": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "too many digits": lambda: '{"ending": "succeeded", "at": ' + "9" * 5_000 + "}",
}


@pytest.mark.parametrize("case", BIG)
def test_what_is_too_much_is_refused_in_few_words(case: str) -> None:
    with pytest.raises(ValueError, match=r"is (?:no|larger)"):
        read(BIG[case]().encode())


@pytest.mark.parametrize("name", FIELDS)
def test_no_value_of_a_field_ends_anything(name: str) -> None:
    """Every value, each in a summary of its own, all of them in one report."""
    known = []
    for at, value in enumerate(VALUES):
        texts = {key: json.dumps(one) for key, one in summary(cluster=f"cvl-{at}").items()} | {name: value}
        one = taken(("{" + ", ".join(f'"{key}": {text}' for key, text in texts.items()) + "}").encode())
        known += [one] if one is not None else []
    assert len(known) > (2 if name == "ending" else 0.9 * len(VALUES))
    found = report(known, history=[*known, *good(BASE, 0.9)], policy=POLICY)
    sound(dict(reporting.files(found, assets=BARE, settings=reporting.Settings())))
