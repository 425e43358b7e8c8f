"""Express the state of a run's machines in a few words: the verdict, its reasons, and what identifies a GPU. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from cvl_ci.model.fitness import Fitness, GpuState, MachineState
from cvl_ci.model.limits import IdlePolicy
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import MachineResult
from cvl_ci.result.sanitize import plain

MOST_REASONS = 3


def states(machines: MachineResult) -> Sequence[tuple[MachineState | None, MachineState | None]]:
    """Return the state of each machine before and after its job, by rank."""
    return list(zip_longest((node.state for node in machines.nodes), machines.states_after))


def fitness_lines(machines: MachineResult) -> list[str]:
    """Return a line for each machine with GPUs or with a fault, and one for each fault that came during the job."""
    has_gpus = bool(machines.launch and machines.launch.accelerators)
    lines = []
    for rank, (before, after) in enumerate(states(machines)):
        node = f"node {rank}: " if len(machines.nodes) > 1 else ""
        if before is not None and (before.gpus or before.fitness is not Fitness.HEALTHY):
            lines.append(node + _state(before))
        elif before is None and has_gpus:
            lines.append(f"{node}unknown: the probe gave no answer")
        if after is not None and after.fitness is not Fitness.HEALTHY and (before is None or differs(before, after)):
            lines.append(f"{node}after the job {_state(after)}")
    return lines


def unmeasured_use(policy: IdlePolicy | None, nodes: Sequence[NodeEnd]) -> list[str]:
    """Return a warning if the use of the GPUs was to be judged, and a machine has no sample of it."""
    if policy is None or all(node.gpu is not None and node.gpu.utilization is not None for node in nodes):
        return []
    return ["min_gpu_utilization had no effect on some machine: its driver told no use of its GPUs."]


def differs(before: MachineState, after: MachineState) -> bool:
    return (before.fitness, before.findings) != (after.fitness, after.findings)


def _state(state: MachineState) -> str:
    reasons = "; ".join(map(plain, state.findings[:MOST_REASONS]))
    return f"{state.fitness.value}{f': {reasons}' if reasons else ''}{''.join(f' · {_gpu(gpu)}' for gpu in state.gpus)}"


def _gpu(gpu: GpuState) -> str:
    """Return `NVIDIA L4 GPU-4a31c0de: 98 TFLOPS, 12.1 GB/s to it, 45 °C`."""
    figures = [
        f"{gpu.tflops:.0f} TFLOPS" if gpu.tflops is not None else "",
        f"{gpu.to_gbs:.1f} GB/s to it" if gpu.to_gbs is not None else "",
        f"{gpu.temperature_c:.0f} °C" if gpu.temperature_c is not None else "",
        f"slowed by {', '.join(map(plain, gpu.throttled))}" if gpu.throttled else "",
    ]
    words = ", ".join(figure for figure in figures if figure)
    return f"{plain(gpu.name)} {plain(gpu.uuid[:12])}{f': {words}' if words else ''}"
