"""The state of machines in the summary, in its JSON and in the history."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cvl_ci.model.fitness import NO_ANSWER, Fitness, GpuState, MachineState
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import MachineResult, Outcome
from cvl_ci.result.benchmark import leg_file as legs
from cvl_ci.result.machine_text import fitness_lines
from cvl_ci.result.summary import to_json
from tests import golden
from tests.result.outcomes import SUCCEEDED

MESSAGES = golden.Messages(__name__)

GPU = GpuState(uuid="GPU-4a31c0de-1111", name="NVIDIA L4", temperature_c=45, tflops=98.4, to_gbs=12.14, from_gbs=12.9)
FIT = MachineState(fitness=Fitness.HEALTHY, gpus=(GPU,), driver="550.54.15")
HOT = replace(FIT, fitness=Fitness.SLOW, findings=("GPU 0: it is too hot",))
PLAIN = MachineState(fitness=Fitness.HEALTHY, disk_mbs=210.0)


def outcome(*before: MachineState | None, after: tuple[MachineState, ...] = ()) -> Outcome:
    nodes = tuple(NodeEnd(rank=rank, exit_code=0, state=state) for rank, state in enumerate(before))
    return replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, nodes=nodes, states_after=after))


def lines(*before: MachineState | None, after: tuple[MachineState, ...] = (), gpus: bool = True) -> list[str]:
    machines = outcome(*before, after=after).machines
    assert machines.launch is not None
    accelerators = {"L4": 1} if gpus else {}
    return fitness_lines(replace(machines, launch=replace(machines.launch, accelerators=accelerators)))


def test_a_gpu_is_named_with_its_figures() -> None:
    assert lines(FIT, after=(FIT,)) == ["healthy · NVIDIA L4 GPU-4a31c0de: 98 TFLOPS, 12.1 GB/s to it, 45 °C"]


def test_a_fault_that_came_during_the_job_has_a_line_of_its_own() -> None:
    [first, second] = lines(FIT, after=(HOT,))
    assert first.startswith("healthy")
    MESSAGES.check("after the job", second)


def test_no_answer_is_unknown_and_a_fit_machine_without_gpus_needs_no_line() -> None:
    assert lines(None) == ["unknown: the probe gave no answer"]
    assert lines(NO_ANSWER, gpus=False) == ["unknown: the probe gave no answer"]
    assert lines(PLAIN, gpus=False) == lines(None, gpus=False) == []
    assert fitness_lines(MachineResult(cluster="c")) == []


def test_each_of_several_nodes_is_named() -> None:
    assert [line.partition(":")[0] for line in lines(FIT, HOT)] == ["node 0", "node 1"]


def test_the_history_keeps_the_gpus_of_a_run() -> None:
    document = to_json(outcome(FIT, None, after=(HOT,)))
    assert json.loads(json.dumps(document)) == document
    leg = legs.read(json.dumps({**document, "at": 1_800_000_000}).encode())
    assert leg.key.gpus == (GPU,)
    assert legs.read(legs.line(leg).encode()).key.gpus == (GPU,)


@pytest.mark.parametrize(
    "states",
    [7, [7], [{"before": 7}], [{"before": {"gpus": 7}}], [{"before": {"gpus": [{"uuid": "<b>"}, {"uuid": 3}, None]}}]],
)
def test_hostile_states_are_no_gpus(states: object) -> None:
    document = {**to_json(SUCCEEDED), "machine_states": states}
    assert legs.read(json.dumps(document).encode()).key.gpus == ()
