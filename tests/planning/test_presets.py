"""A preset of any form becomes one script with arguments and environment, one command, or one clear sentence."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import presets
from cvl_ci.planning.presets import Preset


def train(**given: Any) -> Preset:
    return Preset(name="train", **given)


FILES = {"train.sh", "predict.sh", "build.sh", "serve.sh", "batch.py", "sub/train.sh", "example.yaml"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, train(script="train.sh")),
        ("train.sh", train(script="train.sh")),
        ("./sub/train.sh", train(script="sub/train.sh")),
        ({"description": "d"}, train(script="train.sh", description="d")),
        ({"script": "train.sh -- --stage x"}, train(script="train.sh", args=("--stage", "x"))),
        ({"script": "train.sh --stage x"}, train(script="train.sh", args=("--stage", "x"))),
        ({"script": "train.sh -- -- x"}, train(script="train.sh", args=("--", "x"))),
        (["train.sh"], train(script="train.sh")),
        (["train.sh", "--a", "b c"], train(script="train.sh", args=("--a", "b c"))),
        ({"script": "train.sh", "args": "--a 'b c'"}, train(script="train.sh", args=("--a", "b c"))),
        ({"script": "train.sh", "args": ["full", 3]}, train(script="train.sh", args=("full", "3"))),
        ({"script": "train.sh -- --a", "args": "-- --b"}, train(script="train.sh", args=("--a", "--b"))),
        ({"script": "PORT=8050 X='a b' serve.sh"}, train(script="serve.sh", env={"PORT": "8050", "X": "a b"})),
        (
            {"script": "train.sh", "env": {"P": "hlb", "N": 1, "T": True}},
            train(script="train.sh", env={"P": "hlb", "N": "1", "T": "true"}),
        ),
        ({"script": "batch.py"}, train(script="batch.py")),
        ({"script": "python3 batch.py --x"}, train(script="batch.py", args=("--x",))),
        ({"script": "bash train.sh"}, train(script="train.sh")),
        ({"script": "train.sh", "docker": False}, train(script="train.sh", docker=False)),
        ({"script": "train.sh", "command": "python x.py"}, train(script="train.sh", command="python x.py")),
        ({"command": "python x.py"}, train(script="train.sh", command="python x.py")),
        ({"command": "./build.sh"}, train(script="train.sh", command="./build.sh")),
    ],
)
def test_every_form_is_read(text: object, expected: Preset) -> None:
    assert presets.read("train", text, files=FILES) == expected


def test_a_command_alone_stays_one_unless_it_is_a_script() -> None:
    assert (
        presets.read("think", {"command": "python predict.py\n--a\n"}, files=FILES).command == "python predict.py\n--a"
    )
    assert presets.read("make", {"command": "./build.sh"}, files=FILES) == Preset(name="make", script="build.sh")
    assert presets.read("think", {"command": ["python", "a b.py"]}, files=FILES).command == "python 'a b.py'"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "there is no gone.sh"),
        ({"description": "d"}, "neither a script nor a command"),
        ({"script": "trian.sh"}, "not a file of the example"),
        ({"script": "python missing.py"}, "not a file of the example"),
        ({"script": "PORT=8050"}, "names no file"),
        ({"script": "'open"}, "no closing quotation"),
        ({"script": 5}, "not text"),
        ({"script": "train.sh", "args": "'open"}, "no closing quotation"),
        (5, "neither a script nor a mapping"),
        ([], "neither a script nor a command"),
        ({"script": "../../secret.sh"}, "not a file of the example"),
        ({"script": "train.sh", "env": {"A-B": 1}}, "^has env A-B, which is not the name of a variable"),
        ({"script": "train.sh", "env": {"A": "x\0"}}, "^has env A, which has a value that holds a NUL"),
        ({"script": "train.sh", "env": {"A": "\0", "B": "\0"}}, "has env A, .*; has env B, "),
        ({"script": "train.sh", "args": ["x\0"]}, "^holds a NUL character"),
        ({"command": "echo \0"}, "^holds a NUL character"),
    ],
)
def test_what_can_do_nothing_says_why(text: object, why: str) -> None:
    with pytest.raises(Wrong, match=why):
        presets.read("gone", text, files=FILES)


def test_a_script_that_is_no_file_is_answered_with_near_ones() -> None:
    with pytest.raises(Wrong) as error:
        presets.read("x", {"script": "trian.sh"}, files=FILES)
    assert error.value.near[0] == "train.sh"


def test_presets_come_as_a_mapping_a_list_or_not_at_all() -> None:
    assert presets.declared({"a": None, 1: "x.sh"}, files=FILES) == {"a": None, "1": "x.sh"}
    assert presets.declared(["build", "predict"], files=FILES) == {"build": None, "predict": None}
    listing = presets.declared([{"name": "a", "script": "x.sh"}, {"b": {"script": "y.sh"}}], files=FILES)
    assert listing == {"a": {"script": "x.sh"}, "b": {"script": "y.sh"}}
    assert presets.declared(None, files=FILES) == {"build": None, "train": None, "predict": None}
    assert presets.declared(None, files={"run.sh"}) == {"run": None}


def test_a_preset_is_found_with_dashes_and_case_mixed_up() -> None:
    declared = {"train-full": None, "Eval": None}
    assert presets.find("train_full", declared, example="x") == "train-full"
    assert presets.find("eval", declared, example="x") == "Eval"
    with pytest.raises(Wrong, match="it has train-full, Eval") as error:
        presets.find("trainfull", declared, example="x")
    assert error.value.near == ("train-full",)


def test_without_a_name_the_only_preset_beside_build_is_meant() -> None:
    assert presets.only({"build": None, "train": None}) == "train"
    assert presets.only({"build": None}) == "build"
    assert presets.only({"a": None, "b": None}) is None
    assert presets.only({}) is None
