"""A wrong word is refused before anything starts, with the option that the person typed, its value and near ones."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cvl_ci.cli import main
from cvl_ci.inputs import table
from cvl_ci.inputs.option import EntryPoint

FIELDS = re.compile(r"^  - (\S+): ", re.MULTILINE)
EMPTY = "is empty: give a value, or leave the"


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as places:
        if "--command ls" in line:  # its folder is sent: not this repository with all that is installed in it
            places.chdir(os.environ["XDG_STATE_HOME"])
        assert main.main(shlex.split(line)) == 64, line
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "usage:" not in shown.err
    return shown.err


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CVL_CI_SANDBOX_DIR", str(tmp_path / "sandbox"))


# ---- options ---------------------------------------------------------------------------------------------------------

UNKNOWN = ["faults --throtle 3", "status --nope", "down --nope", "env --nope", "reset --nope", "up --nope",
           "kill i-1 --nope", "interrupt i-1 --nope"]  # fmt: skip


@pytest.mark.parametrize("line", UNKNOWN)
def test_a_verb_of_the_sandbox_refuses_an_unknown_option(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refused(f"sandbox {line}", capsys)
    assert "is not an option" in said
    assert not (tmp_path / "sandbox").exists(), "nothing was started or emptied"


@pytest.mark.parametrize("verb", sorted(set(main.VERBS) - {"sandbox"}))
def test_every_verb_refuses_an_unknown_option(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--nope: '--nope' is not an option" in refused(f"{verb} --nope", capsys)


@pytest.mark.parametrize("mode", ["--status x", "--logs x", "--list", "--down x"])
def test_a_question_to_a_service_refuses_an_unknown_option(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--nope: '--nope' is not an option" in refused(f"deploy {mode} --nope", capsys)
    assert "is too much" in refused(f"deploy word {mode}", capsys)


SANDBOX = {
    "sandbox": ["VERB", "is missing", "up, status"],
    "sandbox sttus": ["VERB", "Did you mean status?"],
    "sandbox foo": ["VERB", "'foo'", "up, status"],
    "sandbox --dir x status": ["--dir", "put it after the verb"],
    "sandbox kill": ["INSTANCE", "is missing", "sandbox status"],
    "sandbox kill i-1 i-2": ["'i-2' is too much"],
    "sandbox faults --throttle a=b": ["--throttle", "'a=b'", "ACTION[=PROBABILITY][@REGION]"],
    "sandbox faults --api-down clsed": ["--api-down", "Did you mean closed?"],
    "sandbox faults --slow-boot-seconds x": ["--slow-boot-seconds: 'x' is not a number"],
    "sandbox faults --throttle": ["--throttle: '' is missing"],
}


@pytest.mark.parametrize(("line", "words"), SANDBOX.items(), ids=SANDBOX)
def test_a_wrong_word_of_the_sandbox_is_an_error_as_any_other(
    line: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(line, capsys)
    assert all(word in said for word in words), said
    assert "The sandbox is never billed." in said


# ---- empty values ----------------------------------------------------------------------------------------------------

WITH_VALUE = sorted(
    flag
    for option in table.run_options(EntryPoint.CLI)
    if option.metavar and not option.is_positional
    for flag in option.flags
)


@pytest.mark.parametrize("flag", WITH_VALUE)
@pytest.mark.parametrize("form", ["{} ''", "{}=", "{} ' '"])
def test_an_empty_value_is_a_mistake_and_no_missing_limit(
    flag: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(f"plan digits_sgd train {form.format(flag)}", capsys)
    assert FIELDS.findall(said) == [flag]
    assert EMPTY in said


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("plan digits_sgd train --max-cost '' --gpu '' --cloud ''", ["--max-cost", "--gpu", "--cloud"]),
        ("reap --cloud ''", ["--cloud"]),
        ("status --cloud ''", ["--cloud"]),
        ("down x --cloud ''", ["--cloud"]),
        ("matrix --budget ''", ["--budget"]),
        ("queue x.yml --max-cost ''", ["--max-cost"]),
        ("deploy x --ttl ''", ["--ttl"]),
        ("models list --in ''", ["--in"]),
        ("plan digits_sgd train --outputs x --outputs ''", ["--outputs"]),
        ("plan --gpu --max-cost 3 --command ls", ["--gpu"]),
    ],
)
def test_all_empty_values_of_a_line_are_told(line: str, fields: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert FIELDS.findall(refused(line, capsys))[: len(fields)] == fields


@pytest.mark.parametrize("line", ["down ''", "plan '' train", "collect ''", "check ''", "logs ''"])
def test_an_empty_word_is_a_mistake(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is an empty word" in refused(line, capsys)


def test_an_empty_argument_of_the_script_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "digits_sgd", "train", "--cloud", "aws", "--", "--name", ""]) == 0
    assert "--name ''" in capsys.readouterr().out


# ---- a value of an option that may stand alone -----------------------------------------------------------------------

SPOT = {
    "--spot fallbak digits_sgd train": (["--spot"], "Did you mean fallback?"),
    "digits_sgd train --spot maybe": (["--spot"], "is none of true, false, fallback"),
    "digits_sgd train --use-spot flase": (["--use-spot"], "Did you mean false?"),
    "digits_sgd train --detach yes": (["--detach"], "is none of true, false"),
    "--spot perhaps": (["--spot"], "'perhaps' is none of true, false, fallback"),
    "--spot perhaps --command ls": (["--spot"], "'perhaps' is none of true, false, fallback"),
}


@pytest.mark.parametrize(("line", "expected"), SPOT.items(), ids=SPOT)
def test_a_wrong_optional_value_blames_its_option(
    line: str, expected: tuple[list[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(f"plan {line}", capsys)
    assert FIELDS.findall(said) == expected[0]
    assert expected[1] in said


# ---- the option that the person typed --------------------------------------------------------------------------------

TYPED = {
    "plan --command ls --cloud aws --region us-eats-1": ["--region"],
    "plan --command ls --cloud aws/us-eats-1": ["--cloud"],
    "plan --command ls --infra mars": ["--infra"],
    "plan --command ls --gpus H1000": ["--gpus"],
    "plan --command ls --envs x": ["--envs"],
    "plan --command ls --output /x": ["--output"],
    "models list --in x": ["--in"],
    "models list --to x": ["--to"],
    "models list --storage x": ["--storage"],
    "run --comand X": ["--comand"],
    "run --taks X": ["--taks"],
    "matrix nope --clouds awss --gpus L44": ["EXAMPLE", "--clouds", "--gpus"],
    "matrix digits_sgd --clouds awss --gpus L44": ["--clouds", "--gpus"],
    "matrix digits_sgd --presets nope --clouds awss": ["--presets", "--clouds"],
    "down x --cloud mars": ["--cloud"],
    "plan --command ls --json --yaml": ["--yaml"],
    "plan --command ls --json --estimate-cost --yaml": ["--yaml", "--estimate-cost"],
    "plan --command ls --outputs [": ["--outputs"],
    "plan --command ls --include a{b,c": ["--include"],
    "plan --command ls --num-nodes 100000000 --disk-size 99999999 --memory 1000000000 --cpus 2000":
        ["--num-nodes", "--cpus", "--memory", "--disk-size"],
    "drill --phase runnin --kill nope --cloud sandbox": ["--phase", "--kill"],
}  # fmt: skip


@pytest.mark.parametrize(("line", "fields"), TYPED.items(), ids=TYPED)
def test_each_mistake_has_the_name_that_was_typed(
    line: str, fields: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert FIELDS.findall(refused(line, capsys)) == fields


NAMES = {
    "check mars": ["aws", "gcp", "Without a name"],
    "check awz": ["Did you mean aws?"],
    "prices update mars": ["aws", "gcp", "Without a name"],
    "plan --command ls --cloud mars": ["aws", "kubernetes"],
    "drill --phase zzz --cloud sandbox": ["provisioning, setup, running"],
    "logs nope": ["is not a lease of this computer", "cvl-ci status"],
    "collect": ["cvl-ci collect all"],
    "run --comand X": ["Did you mean --command?"],
}


@pytest.mark.parametrize(("line", "words"), NAMES.items(), ids=NAMES)
def test_a_mistake_names_what_there_is_or_the_next_step(
    line: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(line, capsys)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    "line", ["status --cloud mars", "deploy --status nope", "deploy --logs nope", "deploy --list x"]
)
def test_a_verb_that_reads_does_not_speak_of_an_end(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(line, capsys)
    assert "Nothing was started or ended" in said
    assert "still is" not in said


def test_a_history_without_a_remote_is_a_mistake_in_the_remote(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "new")], check=True)
    monkeypatch.chdir(tmp_path / "new")
    for line in ("history", "cost", "history --remote upstream"):
        said = refused(line, capsys)
        assert FIELDS.findall(said) == ["--remote"]
        assert "is not a remote of this checkout" in said and "git remote add" in said
        assert "fatal" not in said
