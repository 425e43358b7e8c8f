"""The probe as a node runs it, its answer as the engine reads it, and the end of a run on a broken machine."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from cvl_ci.engine import fitness
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.sky_errors import read_end
from cvl_ci.engine.task import script
from cvl_ci.model.fitness import NO_ANSWER, Fitness, MachineState
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.resource_request import ResourceRequest
from tests import golden
from tests.engine.machine.test_machine_fitness import L4, Library, turned
from tests.engine.task.test_script import LEASE, Node

MESSAGES = golden.Messages(__name__)


def plan(*, setup: str = "", gpus: dict[str, float] | None = None) -> RunPlan:
    work = WorkPlan(setup_commands=(setup,) if setup else (), run_commands=("echo ran; echo x > made",))
    return RunPlan(title="t", work=work, machines=MachinePlan(needs=ResourceRequest(accelerators=gpus or {"L4": 1})))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node", probed_whole=True)


def give(node: Node, answer: str, *, code: int = 0) -> None:
    """Give the node a driver that answers so, and the log of a kernel that says nothing of it."""
    programs = node.home / "programs"
    (programs / "answer.xml").write_text(answer)
    for name, text in {"nvidia-smi": f"cat {programs}/answer.xml; exit {code}", "dmesg": "echo Linux"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)


def end_of(node: Node) -> NodeEnd:
    return read_end(0, node.run(script.end(lease=LEASE), {}).stdout)


@pytest.mark.parametrize("setup", ["", "echo set up"])
def test_nothing_of_the_job_begins_on_a_broken_machine(node: Node, setup: str) -> None:
    give(node, turned(L4, "remapped_row_pending", "Yes"))
    done = node.job(plan(setup=setup))
    assert (done.returncode, done.stdout, done.stderr) == (75, f"{script.UNFIT}\n", "")
    assert node.end()["phase"] == "preflight"
    end = end_of(node)
    assert (end.exit_code, end.state and end.state.fitness) == (75, Fitness.BROKEN)
    assert end.state is not None
    MESSAGES.check("a row that waits", end.state.findings[0])
    assert not (node.workdir / "made").exists()


def test_a_machine_without_cuda_is_unknown_and_its_job_runs_and_it_is_probed_again(node: Node) -> None:
    give(node, L4)
    done = node.job(plan(setup="echo set up"))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [script.JOB_BEGINS, "ran"]
    end = end_of(node)
    assert end.state is not None
    assert end.state.fitness is Fitness.UNKNOWN
    [gpu] = end.state.gpus
    assert (gpu.uuid, gpu.name, gpu.temperature_c) == ("GPU-4a31c0de-1111-2222-3333-444455556666", "NVIDIA L4", 38.0)
    give(node, turned(L4, "clocks_event_reason_hw_thermal_slowdown", "Active"))
    again = fitness.last_line(node.run(script.probe_again(plan(), lease=LEASE), {}).stdout)
    assert "GPU 0: it is too hot" in again.findings
    assert again.gpus[0].throttled == ("hw_thermal_slowdown",)


CUDA = {
    'ctypes.CDLL("libcuda.so.1")': '__import__("library").Library()',
    "MULTIPLY_SECONDS, WARM_SECONDS = 2.0, 0.4": "MULTIPLY_SECONDS, WARM_SECONDS = 0.02, 0.0",
    "256 << 20": "4 << 20",
}
"""The driver's library as an object, for the program on the machine."""
LIBRARY = f"""import ctypes, struct
from collections.abc import Mapping
from typing import Any
from fitness import cuda
UUID = "GPU-4a31c0de-1111-2222-3333-444455556666"
{inspect.getsource(Library)}"""


@pytest.mark.parametrize(
    ("init", "finding"),
    [
        ("Library()", ""),
        ('Library(wrong="product")', "it multiplies wrongly"),
        ('Library(codes={"cuInit": [999] * 3})', "cuInit failed with code 999"),
    ],
)
def test_the_figures_of_a_gpu_come_from_the_process_that_measures_them(node: Node, init: str, finding: str) -> None:
    give(node, L4)
    text, env = script.run(plan(), lease=LEASE), script.environment(plan(), lease=LEASE, deadline=2e9)
    for old, new in {**CUDA, '("library").Library()': f'("library").{init}'}.items():
        text = text.replace(old, new)
        assert new in text
    state = node.home / ".cvl-ci" / LEASE
    state.mkdir(parents=True, exist_ok=True)
    (state / "library.py").write_text(LIBRARY)
    done = node.run(text, env)
    assert done.returncode == (75 if finding else 0), done.stderr
    seen = end_of(node).state
    assert seen is not None
    if finding:
        assert seen.fitness is Fitness.BROKEN and finding in "".join(seen.findings)
    else:  # this computer may be slow
        assert seen.fitness in {Fitness.HEALTHY, Fitness.SLOW}, seen
        assert seen.gpus[0].tflops and seen.gpus[0].to_gbs and seen.gpus[0].from_gbs


def test_a_machine_without_gpus_has_a_disk_and_a_memory(node: Node) -> None:
    done = node.job(RunPlan(title="t", work=WorkPlan(run_commands=("echo ran",))))
    assert done.returncode == 0
    end = end_of(node)
    assert end.state is not None
    assert end.state.gpus == () and end.state.disk_mbs and end.state.memory_gbs
    assert end.state.fitness in {Fitness.HEALTHY, Fitness.SLOW}


def test_a_driver_that_never_answers_does_not_keep_the_job(node: Node) -> None:
    give(node, L4)
    (node.home / "programs" / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 600\n")
    text = script.run(plan(), lease=LEASE).replace("SECONDS = 9.0", "SECONDS = 0.3")
    done = node.run(text, script.environment(plan(), lease=LEASE, deadline=2e9))
    assert done.returncode == 0
    state = end_of(node).state
    assert state is not None
    assert state.fitness is Fitness.UNKNOWN
    MESSAGES.check("no answer of the driver", golden.line(state.findings, "nvidia-smi"))


@pytest.mark.parametrize(
    ("gpus", "words"),
    [({"L4": 1, "A10G": 2}, "L4:1,A10G:2"), ({"L4": 0.5}, ""), ({"tpu-v5e": 8}, ""), ({"MI300X": 8}, ""), ({}, "")],
)
def test_only_whole_gpus_of_the_probe_s_vendor_are_asked_for(gpus: dict[str, float], words: str) -> None:
    assert (
        script.requested_gpus(RunPlan(title="t", machines=MachinePlan(needs=ResourceRequest(accelerators=gpus))))
        == words
    )


HOSTILE = {
    "nothing": "",
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a list": "[]",
    "no verdict": "{}",
    "another verdict": '{"verdict": "fine"}',
    "a verdict of another type": '{"verdict": 1}',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_answer_that_cannot_be_read_is_no_answer(kind: str) -> None:
    assert fitness.read(HOSTILE[kind]) == NO_ANSWER
    assert fitness.last_line(HOSTILE[kind]) == NO_ANSWER


def test_an_answer_is_read_within_its_bounds() -> None:
    gpu = {"uuid": "GPU-\x1b[31m" + "x" * 1000, "tflops": 1e300, "to_gbs": -1, "from_gbs": True, "throttled": [1, "a"]}
    document = {
        "verdict": "healthy",
        "findings": [["slow", "hot\n::error::"], ["x"], 7, *[["note", "n"]] * 100],
        "gpus": [gpu] * 100,
        "host": {"disk_mbs": float("nan"), "memory_gbs": "9"},
        "driver": "<b>",
    }
    state = fitness.read(json.dumps(document))
    assert len(state.gpus) == fitness.MOST_GPUS and len(state.findings) <= fitness.MOST_FINDINGS
    assert state.findings[0] == "hot?::error::"
    first = state.gpus[0]
    assert first.uuid.startswith("GPU-?[31m") and len(first.uuid) == fitness.LONGEST
    assert (first.tflops, first.to_gbs, first.from_gbs, first.throttled) == (None, None, None, ("a",))
    assert (state.driver, state.disk_mbs, state.memory_gbs) == ("", None, None)


# ---- whose word counts -----------------------------------------------------------------------------------------------

BROKEN = MachineState(fitness=Fitness.BROKEN, findings=("GPU 0: it fell off the bus",))


def unfit(*nodes: NodeEnd, lines: tuple[str, ...]) -> str:
    stream = Following(lambda _: None, num_nodes=len(nodes))
    for line in lines:
        stream.line(line)
    return fitness.why_unfit(nodes, begun=stream.nodes_begun, is_told=stream.told_unfit)


def node_end(rank: int, state: MachineState | None, code: int = 75) -> NodeEnd:
    return NodeEnd(rank=rank, exit_code=code, state=state)


ONE, OTHER = (f"(t, rank={rank}, pid=7) {script.JOB_BEGINS}" for rank in (0, 1))
ALONE = f"(t, pid=7) {script.JOB_BEGINS}"
SETUP = f"(setup pid=9) {script.SETUP_BEGINS}"
OTHER_TOLD = f"(t, rank=1, pid=7) {script.UNFIT}"
TOLD, TOLD_IN_SETUP = f"(t, pid=7) {script.UNFIT}", f"(setup pid=9) {script.UNFIT}"


def test_a_machine_that_never_began_is_believed_and_a_job_is_not() -> None:
    assert unfit(node_end(0, BROKEN), lines=(TOLD,)) == "GPU 0: it fell off the bus"
    assert unfit(node_end(0, BROKEN), lines=(TOLD_IN_SETUP,)) == "GPU 0: it fell off the bus"
    assert unfit(node_end(0, BROKEN), lines=()) == "", "the job may have written it, and deleted the stream's log"
    assert unfit(node_end(0, BROKEN), lines=(ALONE, TOLD)) == "", "the job may have written it"
    assert unfit(node_end(0, BROKEN), lines=(SETUP, TOLD)) == "", "so may setup"
    assert unfit(node_end(0, BROKEN, code=1), lines=(TOLD,)) == ""
    assert unfit(node_end(0, None), lines=(TOLD,)) == ""


def test_one_broken_machine_of_two_is_believed_while_the_other_runs() -> None:
    fit = node_end(0, MachineState(fitness=Fitness.HEALTHY), code=137)
    assert unfit(fit, node_end(1, BROKEN), lines=(ONE, OTHER_TOLD)) == "node 1: GPU 0: it fell off the bus"
    assert unfit(fit, node_end(1, BROKEN), lines=(ONE, OTHER, OTHER_TOLD)) == ""
