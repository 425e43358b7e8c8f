"""GPUs are read however people write them, and a wrong name is answered with the near ones."""

from __future__ import annotations

import pytest

from cvl_ci.clouds.catalogue.names import ACCELERATORS
from cvl_ci.inputs import accelerators
from cvl_ci.inputs.parsers import Wrong


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("A100:1", {"A100": 1}),
        ("A100", {"A100": 1}),
        ("{L4:1, A10G:1}", {"L4": 1, "A10G": 1}),
        ("{'L4': 1, \"A10G\": 2}", {"L4": 1, "A10G": 2}),
        ("L4:1,A10G:1", {"L4": 1, "A10G": 1}),
        ({"L4": 1}, {"L4": 1}),
        (["L4:1", "A10G"], {"L4": 1, "A10G": 1}),
        ({"L4:1": None, "A10G:2": None}, {"L4": 1, "A10G": 2}),
        ({"A100": None}, {"A100": 1}),
        ("any:H100,L4:2", {"H100": 1, "L4": 2}),
        ("Any: {H100:1, L4}", {"H100": 1, "L4": 1}),
        ("none", {}),
        ("None", {}),
        ("0", {}),
        (0, {}),
        ("{}", {}),
    ],
)
def test_every_form_is_read(value: object, read: dict[str, int]) -> None:
    assert accelerators.read(value) == read


@pytest.mark.parametrize("value", ["A100:0", "A100:x", "A100:1.5", "A100:-1", "L4:1,", 3, 1.5, {"L4:": None}, "A100:"])
def test_what_is_no_gpu_is_refused(value: object) -> None:
    with pytest.raises(Wrong):
        accelerators.read(value)


@pytest.mark.parametrize(
    ("value", "in_order"),
    [
        ("H100:1,L4:1", True),
        (["H100:1", "L4"], True),
        ("{H100:1, L4:1}", False),
        ("any:H100,L4", False),
        ({"H100": 1, "L4": 1}, False),
        ({"H100:1": None, "L4:1": None}, False),
        ("H100:1", False),
    ],
)
def test_a_list_is_in_order_of_preference_and_a_set_is_not(value: object, in_order: bool) -> None:
    names = accelerators.canonical(accelerators.read(value), ACCELERATORS)
    assert names.in_order is in_order
    assert next(iter(names)) == "H100"


def test_a_part_of_a_gpu_is_a_count_below_one() -> None:
    assert accelerators.read("T4:0.5") == accelerators.read({"T4": 0.5}) == {"T4": 0.5}


@pytest.mark.parametrize(
    ("value", "names", "count"),
    [
        ("80GB", "A100-80GB A100-80GB-SXM A800 H100 H100-MEGA H100-NVLINK H100-SXM", 1),
        ("150GB+", "B200 GB200 B100 MI300X B300 GB300", 1),
        ("nvidia:150gb+:8", "B200 GB200 B100 B300 GB300", 8),
        ("amd:192GB: 2", "MI300X", 2),
        ({"amd:100GB+:4": None}, "MI300X", 4),
        ({"AMD:100GB+": 4}, "MI300X", 4),
        (["16384MB", "L4"], "A16 A4000 P100 RTX2000-Ada RTXA4000 Radeon_MI25 T4 T4g V100 L4", 1),
    ],
)
def test_a_memory_stands_for_all_gpus_that_have_it(value: object, names: str, count: float) -> None:
    read = accelerators.canonical(accelerators.read(value), ACCELERATORS)
    assert list(read.items()) == [(name.replace("_", " "), count) for name in names.split()]
    assert read.by_memory == set(read) - {"L4"}


@pytest.mark.parametrize(
    ("value", "problem"), [("900GB+", "the largest has 288GB"), ("nvidea:80GB", "an unknown maker"), ("81GB", "no GPU")]
)
def test_a_memory_that_no_gpu_has_is_refused(value: str, problem: str) -> None:
    with pytest.raises(Wrong, match=problem):
        accelerators.canonical(accelerators.read(value), ACCELERATORS)


@pytest.mark.parametrize("value", [{"A100:4": None, "A100:8": None, "L4:8": None}, "any:A100:4,A100:8,L4:8"])
def test_a_name_may_have_several_counts(value: object) -> None:
    read = accelerators.canonical(accelerators.read(value), ACCELERATORS)
    assert list(read.pairs) == [("A100", 4), ("A100", 8), ("L4", 8)]
    assert (read.has_several_counts, read.in_order) == (True, False)


@pytest.mark.parametrize(("part", "name"), [("MI300", "MI300X"), ("4090", "RTX4090")])
def test_a_part_of_one_name_is_that_name_as_in_skypilot(part: str, name: str) -> None:
    assert accelerators.canonical({part: 1}, ACCELERATORS) == {name: 1}


def test_an_own_cluster_has_names_of_its_own_next_to_the_known_ones() -> None:
    names = accelerators.canonical({"my-gpu": 2, "h100": 1, "MI300": 1}, ACCELERATORS, allows_own=True)
    assert names == {"my-gpu": 2, "H100": 1, "MI300": 1}


@pytest.mark.parametrize("value", ["any", "any:", " ANY : "])
def test_any_without_a_gpu_names_the_form(value: str) -> None:
    with pytest.raises(Wrong, match="any:H100,L4"):
        accelerators.read(value)


def test_names_get_skypilots_spelling_and_keep_their_order() -> None:
    spelled = accelerators.canonical({"l4": 1, "a100-80gb": 2, "TPU-V5P-8": 1}, ACCELERATORS)
    assert list(spelled.items()) == [("L4", 1), ("A100-80GB", 2), ("tpu-v5p-8", 1)]


@pytest.mark.parametrize(
    ("typo", "near"), [("H1000", "H100"), ("A100-40GB", "A100"), ("L40C", "L40"), ("RTX-4090", "RTX4090")]
)
def test_a_wrong_name_is_answered_with_near_ones(typo: str, near: str) -> None:
    with pytest.raises(Wrong, match="no GPU that SkyPilot knows") as error:
        accelerators.canonical({typo: 1}, ACCELERATORS)
    assert near in error.value.near
    assert error.value.display == typo
