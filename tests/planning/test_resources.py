"""Which GPU an example gets: each row of the table, each form of declaring it."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.clouds.catalogue.names import ACCELERATORS
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import example, resources
from tests import golden

MESSAGES = golden.Messages(__name__)


def gpus(sources: tuple[str, ...] = (), **said: Any) -> list[str]:
    result = resources.request(resources.declared(said), sources=sources, known_gpus=ACCELERATORS).accelerators
    return [f"{name}:{count}" for name, count in result.items()]


SMALL = ["T4:1", "L4:1", "A10G:1", "A10:1"]
MODERN = ["L4:1", "A10G:1", "A10:1"]
LARGE = ["A100:1", "L40S:1", "A6000:1", "A100-80GB:1"]


@pytest.mark.parametrize(
    ("vram", "expected"),
    [
        (1, SMALL),
        (15, SMALL),
        (15.5, MODERN),
        (16, MODERN),
        (24, MODERN),
        (None, MODERN),
        (0, MODERN),
        (25, LARGE),
        (40, LARGE),
        (41, ["L40S:1", "A6000:1", "A100-80GB:1"]),
        (48, ["L40S:1", "A6000:1", "A100-80GB:1"]),
        (49, ["A100-80GB:1", "H100:1"]),
        (80, ["A100-80GB:1", "H100:1"]),
        (81, ["H200:1", "B200:1"]),
        (141, ["H200:1", "B200:1"]),
        (160, ["B200:1", "MI300X:1"]),
        (192, ["MI300X:1"]),
    ],
)
def test_every_row_of_the_table(vram: float | None, expected: list[str]) -> None:
    assert gpus(resources={"gpu": 1, "vram_gb": vram}) == expected


@pytest.mark.parametrize(
    "word", ["torch.bfloat16", "--bf16", "flash-attn==2.5", "flash_attention_2", "FP8", "flash attn"]
)
def test_a_t4_cannot_do_what_newer_gpus_can(word: str) -> None:
    assert gpus(("import torch", f"x = {word}"), resources={"gpu": 1, "vram_gb": 8}) == MODERN
    assert gpus((word,), resources={"gpu": 1, "vram_gb": 30}) == LARGE


def test_more_than_any_gpu_has_is_no_guess() -> None:
    with pytest.raises(Wrong, match="300 GB a GPU, and the largest has 288"):
        gpus(resources={"gpu": 1, "vram_gb": 300})


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"resources": {"gpu": 0}}, []),
        ({"resources": {"gpu": 8, "vram_gb": 80}}, ["A100-80GB:8", "H100:8"]),
        ({"resources": {"gpu": {"count": 2, "vram_gb": 80}}}, ["A100-80GB:2", "H100:2"]),
        ({"resources": {"gpu": {"vram_gb": 8}}}, SMALL),
        ({"resources": {"gpu": "required", "vram_gb": 24}}, MODERN),
        ({"resources": {"gpu_count": 1, "vram_gb": 24}}, MODERN),
        ({"resources": {"gpu": None, "gpu_count": 2, "vram_gb": 8}}, ["T4:2", "L4:2", "A10G:2", "A10:2"]),
        ({"hardware": {"gpu_required": True, "min_vram_gb": 48}}, ["L40S:1", "A6000:1", "A100-80GB:1"]),
        ({"hardware": {"gpu_required": False, "min_vram_gb": 0}}, []),
        ({"hardware": {"min_vram_gb": 8}}, SMALL),
        ({"docker": {"image": "x", "gpu": "required", "vram_gb": 24}}, MODERN),
        ({"docker": {"gpu": True, "vram_gb": "16GB"}}, MODERN),
        ({"docker": "x"}, []),
        ({"resources": None}, []),
        ({"resources": {"gpu": 0}, "docker": {"gpu": "required", "vram_gb": 24}}, []),
        ({"resources": {"gpu": True}}, MODERN),
        ({"resources": {"gpu": "L4"}}, ["L4:1"]),
        ({"resources": {"gpu": "l4:2", "vram_gb": 80}}, ["L4:2"]),
        ({"resources": {"gpu": ["A10G", "L4:2"]}}, ["A10G:1", "L4:2"]),
        ({"resources": {"gpu": {"H100": 8}}}, ["H100:8"]),
        ({"resources": {"gpus": "{L4:1, A10G:1}"}}, ["L4:1", "A10G:1"]),
        ({"resources": {"accelerators": {"L4:1": None, "A10G:1": None}}}, ["L4:1", "A10G:1"]),
        ({"resources": {"gpu": 2, "vram_gb": 160}}, ["A100-80GB:2", "H100:2"]),
        ({"resources": {"gpu": {"count": 4, "vram_gb": 320}}}, ["A100-80GB:4", "H100:4"]),
        ({"resources": {"gpu": "1"}}, MODERN),
        ({"resources": {"gpu": "200GB+:8"}}, ["B300:8", "GB300:8"]),
        ({}, []),
    ],
)
def test_every_way_to_declare_it(document: dict[str, Any], expected: list[str]) -> None:
    assert gpus(**document) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Llama(model_path='m.gguf', flash_attn=True)  # llama_cpp", SMALL),
        ("llama-server -m model.gguf --flash-attn on", SMALL),
        ("llama_cpp.flash_attn = 1; pip install flash-attn", MODERN),
        ("if x.dtype == torch.bfloat16:\n    x = x.half()", SMALL),
        ("if torch.bfloat16 != dtype:", SMALL),
        ("assert dtype in (torch.float16, torch.bfloat16)", SMALL),
        ("model.to(torch.bfloat16)", MODERN),
        ("if dtype == torch.bfloat16:\n    pass\nmodel.to(torch.bfloat16)", MODERN),
        ("llama-server -m mmproj-BF16.gguf -hf unsloth/Qwen3-GGUF:BF16", SMALL),
        ("llama-server -m mmproj-BF16.gguf --dtype bf16", MODERN),
        ("from flash_attn import flash_attn_func  # beside llama.cpp", MODERN),
    ],
)
def test_a_word_alone_is_not_a_need(source: str, expected: list[str]) -> None:
    assert gpus((source,), resources={"gpu": 1, "vram_gb": 8}) == expected


def test_a_list_is_an_order_and_a_set_is_not() -> None:
    def in_order(gpu: object) -> bool:
        declared = resources.declared({"resources": {"gpu": gpu}})
        return resources.request(declared, known_gpus=ACCELERATORS).in_order

    assert (in_order(["A10G", "L4"]), in_order("{A10G, L4}")) == (True, False)


@pytest.mark.parametrize("gpu", ["L44", "24G", ["L4", "Hopper"], {"H1000": 1}, "L4:many"])
def test_a_name_that_is_unknown_is_refused_with_the_near_ones(gpu: object) -> None:
    with pytest.raises(Wrong):
        gpus(resources={"gpu": gpu})


def test_a_sum_and_a_misspelled_key_are_told() -> None:
    document = {"resource": {}, "resources": {"gpu": 2, "vram_gb": 160, "vram": 8}, "references": [], "title": "t"}
    MESSAGES.check("a sum and misspelled keys", resources.declared(document).notes)


def test_each_unknown_key_of_the_machine_and_a_slip_in_a_preset_are_told() -> None:
    document = {
        "ressources": {},
        "title": "of any kind",
        "resources": {"gpu": 1, "gpu_typ": "L4", "colour": "red"},
        "presets": {"train": {"scrpt": "a.sh", "descripton": "x", "owner": "me"}, "build": {"scrpt": "b.sh"}},
    }
    MESSAGES.check("unknown keys", resources.declared(document).notes)


def test_a_hostile_file_gets_few_warnings() -> None:
    document = {"presets": {str(n): {f"scrpt{n}": 1} for n in range(500)}, "resources": dict.fromkeys(range(5000))}
    assert len(resources.declared(document).notes) == 20


@pytest.mark.parametrize(("disk", "expected"), [(None, 100), (2, 100), (40, 100), (41, 101), (250, 310)])
def test_the_disk_has_room_for_the_image_too(disk: int | None, expected: int) -> None:
    assert resources.request(resources.declared({"resources": {"disk_gb": disk}})).disk_gb == expected


def test_cpus_and_memory_are_what_it_declares() -> None:
    result = resources.request(resources.declared({"resources": {"gpu": 0, "cpu_cores": 8, "ram_gb": "16"}}))
    assert (result.cpus, result.memory_gib) == (8, 16)
    assert resources.request(resources.declared({"hardware": {"min_ram_gb": 32}})).memory_gib == 32


@pytest.mark.parametrize("junk", [[], {"count": "x"}, -1, 10**30, float("nan"), object()])
def test_what_makes_no_sense_is_no_gpu_and_no_crash(junk: object) -> None:
    assert len(gpus(resources={"gpu": junk})) in {0, len(MODERN)}
    assert resources.declared({"resources": {"gpu": 0, "cpu_cores": junk, "disk_gb": junk}}).cpus is None


def test_notes_of_an_example_yaml_are_no_code() -> None:
    content = b"presets: {a: {script: a.sh, description: in bf16}, b: {command: train --bf16}, c: c.sh}\nnotes: bf16"
    described = example.read(content, directory="x", files={"a.sh", "c.sh"})
    code = [*described.code({"example.yaml": content.decode(), "a.sh": "python"})]
    assert " ".join(code).split() == ["python", "a.sh", "train", "--bf16", "c.sh"]
