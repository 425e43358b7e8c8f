"""The sizes of machines are held to what a cloud sells, at each entry point and in each file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cvl_ci.inputs import machine_sizes
from cvl_ci.inputs.deploy_inputs import read_replicas
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import from_environment, from_keywords
from cvl_ci.planning import resources, task_file

LARGEST = {"num_nodes": "1000", "cpus": "1920", "memory": "32768", "disk_size": "65536"}
TOO_LARGE = {"num_nodes": "1001", "cpus": "1921", "memory": "33TB", "disk_size": "65537"}


@pytest.mark.parametrize("name", LARGEST)
def test_an_input_is_bounded_by_the_largest_offer(name: str) -> None:
    variable = f"INPUT_{name.upper()}"
    for text, fields in ((LARGEST[name], []), (TOO_LARGE[name], [name]), ("1e300", [name])):
        wrong = from_keywords({name: text}, environment={}).mistakes
        assert [mistake.field for mistake in wrong] == fields
        assert [mistake.field for mistake in from_environment({variable: text}).mistakes] == fields
        assert all(" more than " in mistake.problem or "not" in mistake.problem for mistake in wrong)


@pytest.mark.parametrize("read", [machine_sizes.nodes, machine_sizes.vcpus, machine_sizes.memory, machine_sizes.disk])
def test_a_size_keeps_its_own_form(read: Callable[[object], float]) -> None:
    assert read("16") == 16
    for wrong in ("0", "-1", "many", "nan", True):
        with pytest.raises(Wrong):
            read(wrong)


@pytest.mark.parametrize(
    "line", ["num_nodes: 100000", "resources: {cpus: 99999}", "resources: {memory: 99999}",
             "resources: {disk_size: 99999999}"]
)  # fmt: skip
def test_a_task_is_bounded_too(line: str) -> None:
    text = f"{line}\nrun: ls\n".encode()
    (problem,) = task_file.read(text, known_gpus=()).wrong
    assert "is more than" in problem


@pytest.mark.parametrize("key", ["cpu_cores", "ram_gb", "disk_gb"])
def test_an_example_is_bounded_too(key: str) -> None:
    with pytest.raises(Wrong, match="which is more than"):
        resources.request(resources.declared({"resources": {key: 99999}}))


@pytest.mark.parametrize("text", ["101", "0", "000000001000000", "9" * 30])
def test_replicas_are_bounded_whatever_their_zeros(text: str) -> None:
    with pytest.raises(Wrong):
        read_replicas(text)
