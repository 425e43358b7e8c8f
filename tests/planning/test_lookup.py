"""An example is found however it is typed; several are listed, none is answered with near ones."""

from __future__ import annotations

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import example, lookup

NAMES = {
    "benchmarks/doc_ai/checkbox_qa": "checkbox_qa",
    "examples/a/torch": "first-torch",
    "examples/b/torch": "second-torch",
    "examples/llm/nanogpt": "nanogpt",
    "examples/vision/c10_speedrun": "cifar10-speedrun",
    "examples/vision/other/c10_speedrun_two": "c10",
}


def find(typed: str) -> str:
    return lookup.find(typed, sorted(NAMES), root="/repo", name_of=NAMES.get)


@pytest.mark.parametrize(
    "text",
    [
        "examples/vision/c10_speedrun",
        "./examples/vision/c10_speedrun/",
        "examples//vision/../vision/c10_speedrun",
        "/repo/examples/vision/c10_speedrun",
        "/repo/examples/vision/c10_speedrun/example.yaml",
        "vision/c10_speedrun",
        "c10_speedrun",
        "c10-speedrun",
        "C10_Speedrun",
        "vision/c10-speedrun",
        "cifar10-speedrun",
        "cifar10_speedrun",
        "Cifar10-Speedrun",
        "examples\\vision\\c10_speedrun",
    ],
)
def test_a_path_its_end_and_a_name_are_all_the_same(text: str) -> None:
    assert find(text) == "examples/vision/c10_speedrun"


def test_several_are_listed() -> None:
    with pytest.raises(Wrong, match="any of 2 examples") as error:
        find("torch")
    assert set(error.value.near) == {"examples/a/torch", "examples/b/torch"}
    assert find("a/torch") == "examples/a/torch"
    assert find("second_torch") == "examples/b/torch"


@pytest.mark.parametrize(
    ("typo", "near"),
    [
        ("nanogtp", "nanogpt"),
        ("llm/nanogtp", "examples/llm/nanogpt"),
        ("cifar-speedrun", "cifar10-speedrun"),
        ("torhc", "examples/a/torch"),
        ("torhc", "examples/b/torch"),
        ("examples/llm/nanogptt", "examples/llm/nanogpt"),
    ],
)
def test_none_is_answered_with_near_ones(typo: str, near: str) -> None:
    with pytest.raises(Wrong, match="is not an example") as error:
        find(typo)
    assert near in error.value.near


@pytest.mark.parametrize("text", ["/etc/passwd", "../repo2/x", "/repository/x", "examples/../../x"])
def test_outside_is_outside(text: str) -> None:
    with pytest.raises(Wrong, match="outside the repository"):
        find(text)


def test_part_of_a_directorys_name_is_not_its_end() -> None:
    with pytest.raises(Wrong):
        find("speedrun_two")


def test_without_any_example_that_is_said() -> None:
    with pytest.raises(Wrong, match=r"this checkout has no example\.yaml"):
        lookup.find("x", [], root="/repo", name_of=NAMES.get)


def test_names_are_not_read_where_a_path_is_enough() -> None:
    def never(directory: str) -> str:
        raise AssertionError(directory)

    assert lookup.find("examples/llm/nanogpt", sorted(NAMES), root="/repo", name_of=never) == "examples/llm/nanogpt"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"name: abc\n", "abc"),
        (b"# x\r\nname: 'a b' # c\r\n", "a b"),
        (b'capability: x\nname:   "q"', "q"),
        (b"  name: indented\n", None),
        (b"\xff\xfe", None),
        (b"name:\n", None),
    ],
)
def test_a_name_is_peeked_from_the_first_lines(head: bytes, name: str | None) -> None:
    assert example.peek_name(head) == name
