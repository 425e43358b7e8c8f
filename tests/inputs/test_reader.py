"""One table, three ways to ask: the same request comes out, and every mistake is named as it was typed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import pytest

from cvl_ci.inputs.arguments import add_arguments, from_namespace
from cvl_ci.inputs.line_parser import AnyOrderParser
from cvl_ci.inputs.option import EntryPoint
from cvl_ci.inputs.reader import Inputs, from_environment, from_keywords
from cvl_ci.inputs.table import RUN_OPTIONS
from cvl_ci.model.location import Location
from cvl_ci.model.resource_request import Spot
from cvl_ci.model.secret import Secret
from tests import golden

MESSAGES = golden.Messages(__name__)


def typed(line: str, environment: Mapping[str, str] | None = None) -> Inputs:
    """A command line, as the command's own parser hands it on."""
    parser = argparse.ArgumentParser(prog="cvl-ci")
    verbs = parser.add_subparsers(dest="verb", parser_class=AnyOrderParser)
    run = verbs.add_parser("run")
    add_arguments(run)
    run.add_argument("--json", action="store_true")
    return from_namespace(parser.parse_args(["run", *line.split()]), environment=environment or {})


def keywords(**given: object) -> Inputs:
    return from_keywords(given, environment={})


def fields_wrong(inputs: Inputs) -> list[str]:
    return [mistake.field for mistake in inputs.mistakes]


@pytest.mark.parametrize(
    "line",
    [
        "x train --cloud aws --spot",
        "--cloud aws --spot x train",
        "--spot x --cloud aws train",
        "x --spot=true train --cloud=aws",
        "x --json --cloud aws train --spot true",
    ],
)
def test_flags_stand_before_between_and_after_the_words(line: str) -> None:
    inputs = typed(line)
    assert (inputs.work.example, inputs.work.preset, inputs.machine.spot) == ("x", "train", Spot.ALWAYS)
    assert inputs.location.cloud == (Location(cloud="aws"),)
    assert inputs.mistakes == ()


def test_a_flag_that_may_have_a_value_does_not_take_the_word_after_it() -> None:
    inputs = typed("x --compare main --fail-on-regression train")
    assert (inputs.work.example, inputs.work.preset) == ("x", "train")
    assert (inputs.trials.fail_on_regression, inputs.trials.compare) == (True, "main")
    assert typed("x --fail-on-regression false").trials.fail_on_regression is False


def test_all_that_follows_two_dashes_is_the_scripts() -> None:
    inputs = typed("x train --gpu L4 -- --gpu none -- --cloud y")
    assert inputs.work.args == ("--gpu", "none", "--", "--cloud", "y")
    assert inputs.machine.gpu == {"L4": 1}


def test_environment_keywords_and_command_line_say_the_same() -> None:
    line = typed(
        "x t --gpu L4:2 --cloud gcp --num-nodes 2 --max-runtime 2h --env A=1 --env B=2 --secret S=v --max-cost $3"
    )
    env = from_environment(
        {
            "INPUT_EXAMPLE": "x",
            "INPUT_PRESET": "t",
            "INPUT_GPU": "L4:2",
            "INPUT_CLOUD": "gcp",
            "INPUT_NUM_NODES": "2",
            "INPUT_MAX-RUNTIME": "2h",
            "INPUT_ENV": "A=1\nB=2\n",
            "INPUT_SECRETS": "S=v",
            "INPUT_MAX_COST": "$3",
            "INPUT_REGION": "",
            "PATH": "/bin",
        }
    )
    given = keywords(
        example="x", preset="t", gpu={"L4": 2}, cloud="gcp", num_nodes=2, max_runtime=120, env={"A": 1, "B": 2},
        secrets={"S": "v"}, max_cost=3.0,
    )  # fmt: skip
    for inputs in (line, env, given):
        assert inputs.mistakes == ()
        values = vars(inputs)
        assert {name: values[name] for name in values if name != "spelling"} == {
            name: value for name, value in vars(line).items() if name != "spelling"
        }
    assert line.variables.secrets == {"S": Secret("v")}
    assert line.limits.max_runtime == 120


def test_an_empty_input_is_not_given() -> None:
    assert from_environment({"INPUT_GPU": "", "INPUT_SPOT": " ", "INPUT_CLOUD": ""}) == from_environment({})


def test_every_mistake_is_kept_under_the_name_that_was_typed() -> None:
    line = typed("x --num-nodes 0 --gpu A100:x --max-cost free --spot --cloud awz")
    assert sorted(fields_wrong(line)) == ["--cloud", "--gpu", "--max-cost", "--num-nodes"]
    env = from_environment({"INPUT_NUM_NODES": "0", "INPUT_GPU": "A100:x"})
    assert sorted(fields_wrong(env)) == ["gpu", "num_nodes"]
    assert sorted(fields_wrong(keywords(num_nodes=0, gpu="A100:x"))) == ["gpu", "num_nodes"]


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    assert keywords(max_costs=3).mistakes[0].near == ("max_cost",)
    assert typed("x --max-costs 3").mistakes[0].near[0] == "--max-cost"
    assert from_environment({"INPUT_MAX_COSTS": "3"}).mistakes[0].near == ("max_cost",)


def test_an_input_that_somebody_else_reads_is_no_mistake() -> None:
    assert from_environment({"INPUT_GITHUB-TOKEN": "x"}).mistakes == ()


def test_the_value_after_an_unknown_flag_is_no_second_mistake() -> None:
    assert fields_wrong(typed("x train --clod aws")) == ["--clod"]


def test_a_word_too_many_says_where_arguments_go() -> None:
    mistake = typed("x train --epochs=3 4").mistakes[0]
    assert mistake.field == "--epochs"
    mistake = typed("x train 4 5").mistakes[0]
    assert (mistake.value, "after `--`" in mistake.problem) == ("4 5", True)


def test_a_flag_without_its_value_is_a_mistake_beside_the_others() -> None:
    assert fields_wrong(typed("x --gpu --num-nodes 0 --cloud")) == ["--gpu", "--cloud", "--num-nodes"]


@pytest.mark.parametrize(
    ("runner", "cloud"), [("ec2", "aws"), ("gcp", "gcp"), ("azure", "azure"), ("lambda", "lambda")]
)
def test_a_runner_names_a_cloud(runner: str, cloud: str) -> None:
    assert keywords(runner=runner).location.cloud == (Location(cloud=cloud),)
    assert keywords(runner=runner, cloud=cloud).mistakes == ()
    assert keywords(runner="skypilot").location.cloud is None


def test_a_runner_of_another_cloud_is_a_mistake() -> None:
    assert fields_wrong(keywords(runner="ec2", cloud="gcp")) == ["runner"]
    assert fields_wrong(keywords(runner="ec3")) == ["runner"]


def test_a_region_is_laid_over_the_one_cloud() -> None:
    assert keywords(cloud="aws", region="us-east-1").location.cloud == (Location(cloud="aws", region="us-east-1"),)
    assert keywords(runner="ec2", region="us-east-1").location.cloud == (Location(cloud="aws", region="us-east-1"),)
    assert fields_wrong(keywords(region="us-east-1")) == ["region"]
    assert fields_wrong(keywords(cloud="aws,gcp", region="us-east-1")) == ["region"]


def test_any_cloud_is_another_thing_than_none_given() -> None:
    assert keywords(cloud="any").location.cloud == ()
    assert keywords().location.cloud is None


def test_a_secrets_value_is_in_no_message_and_no_repr() -> None:
    inputs = from_environment({"INPUT_SECRETS": "HF_TOKEN=hf_abc\n9bad=hf_abc\n"})
    assert inputs.mistakes
    good = from_environment({"INPUT_SECRETS": "HF_TOKEN=hf_abc"})
    assert "hf_abc" not in repr(inputs) + repr(good) + str(inputs.mistakes[0])


def test_a_variable_that_is_also_a_secret_is_a_mistake() -> None:
    assert fields_wrong(keywords(env={"A": "1"}, secrets={"A": "2"})) == ["env"]


def test_every_field_has_help_and_its_example_is_right() -> None:
    environment = {"HF_TOKEN": "x"}
    for field in RUN_OPTIONS:
        assert field.help.endswith(".")
        read = from_keywords(
            {field.name: field.example, "cloud": "aws"} | {field.name: field.example}, environment=environment
        )
        assert read.mistakes == (), field.name


def test_no_flag_is_written_twice() -> None:
    flags = [flag for field in RUN_OPTIONS if not field.is_positional for flag in field.flags]
    assert len(flags) == len(set(flags))


def test_help_has_each_option_of_the_command_line_and_no_other() -> None:
    parser = AnyOrderParser(prog="cvl-ci run")
    add_arguments(parser)
    words = parser.format_help().replace(",", " ").split()
    for field in RUN_OPTIONS:
        is_own = EntryPoint.CLI in field.entry_points
        assert field.is_positional or (field.flag in words) == is_own, field.flag


@pytest.mark.parametrize("name", ["spot", "use_spot"])
def test_a_name_of_another_program_is_the_same_input_at_each_entry_point(name: str) -> None:
    flag = "--" + name.replace("_", "-")
    assert typed(f"x train {flag}").machine.spot is Spot.ALWAYS
    assert typed(f"{flag}=false x").machine.spot is Spot.NEVER
    assert keywords(**{name: True}).machine.spot is Spot.ALWAYS
    values = from_environment(
        {f"INPUT_{name.upper()}": "fallback", "INPUT_SPOT" if name != "spot" else "INPUT_GPU": ""}
    )
    assert (values.machine.spot, values.mistakes) == (Spot.FALLBACK, ())


def test_an_input_under_both_of_its_names_is_a_mistake() -> None:
    (mistake,) = keywords(spot=True, use_spot=False).mistakes
    assert (mistake.field, mistake.value) == ("use_spot", "False")
    assert "another name of spot" in mistake.problem
    assert fields_wrong(from_environment({"INPUT_SPOT": "true", "INPUT_USE_SPOT": "true"})) == ["use_spot"]
    assert keywords(spot=None, use_spot=True).mistakes == ()


def test_a_near_name_of_another_program_is_told() -> None:
    (mistake,) = keywords(use_spott=True).mistakes
    assert mistake.problem == "is not an input"


def test_file_mounts_are_a_mapping_or_lines() -> None:
    as_mapping = {"/data": "s3://bucket/data", "~/cfg": "./cfg.yaml", "/out": {"name": "b", "mode": "MOUNT"}}
    assert keywords(file_mounts=as_mapping).work.file_mounts == as_mapping
    lines = "/data = s3://bucket/data\n\n~/cfg=./cfg.yaml"
    assert from_environment({"INPUT_FILE_MOUNTS": lines}).work.file_mounts == dict(list(as_mapping.items())[:2])
    twice = "--command ls --file-mounts /d=a --file-mounts /e=b"
    assert typed(twice).work.file_mounts == {"/d": "a", "/e": "b"}
    for wrong in ("/data", "=x", {"/d": ""}, {"/d": 3}, 3):
        assert fields_wrong(keywords(file_mounts=wrong)) == ["file_mounts"]


@pytest.mark.parametrize("name", [option.name for option in RUN_OPTIONS if EntryPoint.LIBRARY in option.entry_points])
def test_an_empty_keyword_is_a_mistake_and_an_empty_input_of_the_action_is_none(name: str) -> None:
    """`max_cost=os.environ.get("LIMIT", "")`: the limit must not vanish. A workflow has no other way to give none."""
    (mistake,) = keywords(**{name: " "}).mistakes
    assert mistake.field == name
    MESSAGES.check("an empty keyword", mistake.problem)
    assert keywords(**{name: None}).mistakes == ()
    if name in {option.name for option in RUN_OPTIONS if EntryPoint.ACTION in option.entry_points}:
        assert from_environment({f"INPUT_{name.upper()}": ""}).mistakes == ()


@pytest.mark.parametrize(("value", "near"), [("fallbak", ("fallback",)), ("flase", ("false",)), ("maybe", ())])
def test_a_wrong_spot_has_near_values_at_each_entry_point(value: str, near: tuple[str, ...]) -> None:
    for inputs in (keywords(spot=value), from_environment({"INPUT_SPOT": value}), typed(f"x --spot={value}")):
        (mistake,) = inputs.mistakes
        assert (mistake.field.strip("-"), mistake.near) == ("spot", near)
