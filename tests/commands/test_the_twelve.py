"""Twelve example.yaml files of the real field get the machines of the table. Read where they lie, never copied."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from cvl_ci.clouds.catalogue.names import ACCELERATORS
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.planning import example, presets, resources, safe_yaml
from cvl_ci.planning.example_schema import SCHEMA

HERE = Path(__file__).resolve().parents[2].parent / "shared" / "examples"

pytestmark = pytest.mark.skipif(
    not HERE.is_dir(), reason=f"THE TWELVE REAL EXAMPLES ARE NOT CHECKED: there is no {HERE.name} beside the checkout"
)

SMALL = {"T4": 1, "L4": 1, "A10G": 1, "A10": 1}
MODERN = {"L4": 1, "A10G": 1, "A10": 1}
WANTED = {
    "benchmarks/doc_ai/checkbox_qa": {},
    "examples/analytical/tabular/causal/econml_heterogeneous_effects": {},
    "examples/analytical/tabular/uncertainty/quantile_lightgbm": {},
    "examples/analytical/time_series/chronos_zero_shot": MODERN,
    "examples/analytical/time_series/patchtst_supervised": MODERN,
    "examples/generative/llm/nanochat": {"A100-80GB": 8, "H100": 8},
    "examples/generative/llm/nanogpt": SMALL,
    "examples/perception/3d_reconstruction/mast3r": SMALL,
    "examples/perception/image_classification/c10_speedrun": SMALL,
    "examples/perception/vision_language/moondream2": SMALL,
    "examples/physical/molmoact2": MODERN,
    "examples/physical/openvla_single_step": MODERN,
}
_NAMES = ("build", "train", "predict", "forecast", "run", "download", "evaluate", "eval_dev", "eval_test", "eval_full")
_BATCHES = [f"run_{model}_batch" for model in ("qwen3_vl_2b", "qwen3_vl_4b", "phi4", "moondream2", "florence2")]
SCRIPTS = ["batch_predict.py", *(f"{name}.sh" for name in (*_NAMES, *_BATCHES))]
"""The files that these examples' presets run; here only their example.yaml lies."""


def test_there_are_twelve() -> None:
    found = {path.parent.relative_to(HERE).as_posix() for path in HERE.rglob("example.yaml")}
    assert found == set(WANTED)


@pytest.mark.parametrize("directory", WANTED)
def test_each_gets_its_gpu(directory: str) -> None:
    content = (HERE / directory / "example.yaml").read_bytes()
    found = example.read(content, directory=directory, files=SCRIPTS)
    assert dict(resources.request(found.declared).accelerators) == WANTED[directory]
    assert set(WANTED[directory]) <= set(ACCELERATORS)


@pytest.mark.parametrize("directory", WANTED)
def test_each_validates_against_the_schema(directory: str) -> None:
    document = safe_yaml.load_mapping((HERE / directory / "example.yaml").read_bytes())
    assert list(Draft7Validator(SCHEMA).iter_errors(document)) == []


@pytest.mark.parametrize("directory", WANTED)
def test_every_preset_of_each_can_be_read(directory: str) -> None:
    content = (HERE / directory / "example.yaml").read_bytes()
    found = example.read(content, directory=directory, files=SCRIPTS)
    assert found.presets
    assert found.name == example.peek_name(content)
    for name, said in found.presets.items():
        preset = presets.read(name, said, files=found.files)
        assert preset.script or preset.command


@pytest.mark.parametrize("directory", WANTED)
def test_every_preset_of_each_can_be_planned_and_priced_where_it_lies(directory: str) -> None:
    prices, checkout = CataloguePrices(), open_checkout(HERE)
    names = example.read((HERE / directory / "example.yaml").read_bytes(), directory=directory, files=[]).presets
    if directory.endswith("openvla_single_step"):  # it declares no presets, and its scripts are not here
        with pytest.raises(RequestError, match="has no"):
            prepare(from_keywords({"example": directory}, environment={}), checkout=checkout, prices=prices)
        return
    assert names
    for name in names:
        inputs = from_keywords({"example": directory, "preset": name}, environment={})
        plan = prepare(inputs, checkout=checkout, prices=prices)
        assert dict(plan.machines.needs.accelerators) == WANTED[directory]
        assert quote(plan, prices).offers
