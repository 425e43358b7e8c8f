"""The words of the command line: what a person without a manual types, and what a typing mistake is answered."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version

import pytest

from cvl_ci import errors
from cvl_ci.cli import main
from cvl_ci.errors import EngineError, NotProvedGone, RequestError, explain, explain_while_running

OUR_FLAGS = re.compile(r"^  - (\S+): ", re.MULTILINE)


def ended(words: list[str]) -> int:
    with pytest.raises(SystemExit) as done:
        main.main(words)
    return int(str(done.value.code))


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["--version"]) == 0
    assert capsys.readouterr().out == f"cvl-ci {version('cvl-ci')}\n"


def test_without_a_word_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["--help"]) == 0
    asked = capsys.readouterr()
    assert ended([]) == 0
    assert capsys.readouterr() == asked
    assert asked.out.startswith("usage: cvl-ci")


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("run", ["EXAMPLE", "PRESET", "ARGS"]),
        ("plan", ["EXAMPLE", "PRESET", "ARGS"]),
        ("matrix", ["EXAMPLE..."]),
        ("report", ["FOLDER..."]),
        ("history", ["FOLDER..."]),
    ],
)
@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_the_help_of_a_verb_explains_its_words(
    verb: str, words: list[str], columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert ended([verb, "--help"]) == 0
    explained = capsys.readouterr().out.partition("\nwords:\n")[2]
    assert re.findall(r"^  ([A-Z.]+) +\w", explained, re.MULTILINE)[: len(words)] == words


MISTYPED = {
    "a value of a mistyped option is no word": ("run digits_sgd train --claud aws", ["--claud"]),
    "nor is it where the option comes first": ("run --claud aws digits_sgd train", ["--claud"]),
    "a mistyped switch takes no word": ("run --keep-sandbx digits_sgd train", ["--keep-sandbx"]),
    "an optional value is one": ("run --sopt fallback digits_sgd train", ["--sopt"]),
    "another word after it is the example": ("run --sopt digits_sgd train", ["--sopt"]),
    "an unknown option makes its neighbour doubtful": ("run --foo digits_sgd train", ["--foo"]),
    "and that one too": ("run digits_sgd train --foo bar", ["--foo"]),
    "what is certain is told beside it": ("run --foo x train --num-nodes 0", ["--foo", "--num-nodes"]),
    "an unknown example is still told": ("run digits_sdg train --claud aws", ["--claud", "example"]),
    "a verb without words": ("drill --claud aws", ["--claud"]),
    "a verb without words, an option like none": ("drill --foo bar", ["--foo"]),
    "a verb with words": ("matrix --clods aws", ["--clods"]),
    "down": ("down --claud aws", ["--claud"]),
    "reap": ("reap --claud aws", ["--claud"]),
    "check": ("check --claud aws", ["--claud"]),
    "a verb": ("dwon", ["VERB"]),
}


@pytest.mark.parametrize(("typed", "fields"), MISTYPED.values(), ids=MISTYPED)
def test_one_slip_is_one_mistake(typed: str, fields: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(typed.split()) == 64
    assert OUR_FLAGS.findall(capsys.readouterr().err) == fields


def test_a_mistyped_verb_is_answered_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["dwon", "--all"]) == 64
    assert "Did you mean down?" in capsys.readouterr().err


def test_a_missing_preset_is_asked_for_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "digits_sgd"]) == 64
    said = capsys.readouterr().err
    assert "needs a preset: train, train_quick" in said
    assert "''" not in said


# ---- money -----------------------------------------------------------------------------------------------------------

WITHOUT_BILL = "nothing is billed"


@pytest.mark.parametrize(
    "typed",
    ["down --al", "down", "down cvl-1-nothere", "reap --grace soon", "reap --cloud asw", "check nowhere"],
)
def test_a_verb_that_looks_for_machines_never_says_that_nothing_is_billed(
    typed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main.main(typed.split()) == 64
    said = capsys.readouterr().err
    assert WITHOUT_BILL not in said
    assert "Nothing was started." in said if typed.startswith("check") else "still is, and is billed" in said


@pytest.mark.parametrize("typed", ["dwon --all", "dwon run", "--al down"])
def test_a_mistyped_verb_never_says_that_nothing_is_billed(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(typed.split()) == 64
    said = capsys.readouterr().err
    assert WITHOUT_BILL not in said and "Nothing was started." in said


def test_an_error_beside_a_running_machine_leaves_the_usual_sentence_out() -> None:
    assert explain_while_running(EngineError("It failed.", next_step="Look.")) == "It failed.\nLook."
    own = NotProvedGone("x", money="It may still be running and billed.")
    assert explain_while_running(own) == str(own)
    assert explain_while_running(OSError("full")) == "OSError: full"


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_the_sentence_on_money_is_true_of_the_verb(verb: str) -> None:
    launches = verb in {"plan", "run", "matrix", "drill", "queue", "deploy"}
    for error in (RequestError([], next_step="Look."), EngineError("It failed.", next_step="Look.")):
        text = explain(error, verb=verb)
        assert (WITHOUT_BILL in text) is launches
        assert text.endswith("\nLook.")


def test_a_sentence_of_its_own_stays() -> None:
    error = NotProvedGone("x", money="It may still be running and billed.")
    assert explain(error, verb="down") == str(error)


def test_a_failure_of_down_does_not_say_that_nothing_was_ended() -> None:
    """The first of two leases may be gone when the second one's cloud cannot be opened."""
    assert "Nothing was ended" not in explain(EngineError("It failed."), verb="down")


@pytest.mark.parametrize(
    ("verb", "said"), [("run", "before anything was started"), ("down", "may still be"), ("reap", "may still be")]
)
def test_ctrl_c_says_what_it_means_for_this_verb(
    verb: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(main.VERBS, verb, interrupted)
    assert main.main([verb]) == 130
    assert said in capsys.readouterr().err
    assert errors.cancelled(verb).startswith("Cancelled")


def test_what_goes_to_stdout_stands_above_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Both streams in one file, as a CI keeps them: a text that says "above" must find it there."""
    path = f"{tmp_path}/log"
    with open(path, "w", encoding="utf-8") as out, open(path, "a", encoding="utf-8") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)

        def shows_and_fails(*_: object) -> int:
            sys.stdout.write("what was seen\n")
            raise EngineError("It failed.")

        monkeypatch.setitem(main.VERBS, "reap", shows_and_fails)
        assert main.main(["reap"]) == 70
    with open(path, encoding="utf-8") as log:
        assert [line.rstrip() for line in log][:2] == ["what was seen", "cvl-ci: It failed."]
