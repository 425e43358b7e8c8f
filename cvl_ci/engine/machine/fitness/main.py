"""Probe a machine before or after its job, and write the verdict: `main(STATE, MOMENT, REQUESTED, RANK, ADDRESSES)`.

A program for the machine's own Python. MOMENT is `before`, `further` (before a job that is not the machine's first) or
`after`. It writes `STATE/fitness-before` or `-after`, one line of JSON. Where it finds the machine broken before the
job, it also writes `STATE/unfit`, and fitness.sh does not begin the job.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

from . import allreduce, host, nvidia, sheet
from .findings import BROKEN, NOTE, SLOW, UNKNOWN, Findings

CUDA_SECONDS = 14.0
"""With nvidia.SECONDS this stays below the 20 seconds that fitness.sh allows, since each seldom takes its limit."""
BROKEN_CODES = {46: "it is not available", 214: "an uncorrected ECC error", 700: "an illegal address", 719: "it failed"}
"""CUDA_ERROR_DEVICE_UNAVAILABLE, ECC_UNCORRECTABLE, ILLEGAL_ADDRESS, LAUNCH_FAILED: cuda.h."""
LARGEST_BYTES = 12 << 10


TOTAL_SECONDS, ALLREDUCE_SECONDS, LEAST_SECONDS = 19.0, 9.0, 6.0
"""The whole probe, below the 20 seconds of fitness.sh; the most and the least for the nodes together."""


def main(state: str, moment: str, requested: str, *nodes: str) -> None:
    start = time.monotonic()
    findings = Findings()
    is_first = moment != "after"
    earlier = None if is_first else _findings_before(state)
    host.probe(findings, folder=state, earlier=earlier, is_further=moment == "further")
    if requested or _has_gpus():
        nvidia.probe(findings, requested=requested, is_first=is_first)
        if findings.gpus:
            add_measurements(findings, _measured())
            group = allreduce.group_of(nodes) if is_first else None
            if group is not None:
                seconds_left = TOTAL_SECONDS - (time.monotonic() - start)
                add_allreduce(findings, _allreduce(group, seconds=min(ALLREDUCE_SECONDS, seconds_left)))
    document = findings.as_json(seconds=time.monotonic() - start)
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > LARGEST_BYTES:
        text = json.dumps({**document, "gpus": [], "findings": document["findings"][:5]}, separators=(",", ":"))
    _write(os.path.join(state, "fitness-before" if is_first else "fitness-after"), text + "\n")
    if is_first and findings.verdict == BROKEN:
        _write(os.path.join(state, "unfit"), "")


def add_measurements(findings: Findings, measured: list[dict[str, Any]] | None) -> None:
    """Add what each GPU did, by its uuid, and what speaks against it."""
    if measured is None:
        findings.add(UNKNOWN, "the driver's library did not answer in time, or not at all")
        return
    by_uuid = {gpu["uuid"]: gpu for gpu in measured if gpu.get("uuid")}
    for number, gpu in enumerate(findings.gpus):
        figures = by_uuid.get(gpu["uuid"])
        if figures is None:
            errors = [one for one in measured if one.get("error") and not one.get("uuid")]
            kind = BROKEN if any(one.get("code") in BROKEN_CODES for one in errors) else UNKNOWN
            findings.add(kind, f"GPU {number} could not be used: {errors[0]['error'] if errors else 'CUDA lacks it'}")
            continue
        gpu.update({key: figures[key] for key in ("tflops", "to_gbs", "from_gbs") if figures.get(key) is not None})
        for kind, words in _complaints(gpu, figures):
            findings.add(kind, f"GPU {number}: {words}")


def _complaints(gpu: dict[str, Any], figures: dict[str, Any]) -> list[Any]:
    if "error" in figures:
        meaning = BROKEN_CODES.get(figures.get("code", 0))
        return [(BROKEN if meaning else UNKNOWN, f"{figures['error']}{f', {meaning}' if meaning else ''}")]
    wrong = [name for name, key in (("multiplies", "is_right"), ("copies", "is_copied")) if figures.get(key) is False]
    if wrong:
        return [(BROKEN, f"it {' and '.join(wrong)} wrongly")]
    if figures.get("tflops") is None:
        return [(NOTE, "its speed was not measured: it has no tensor cores")]
    if not sheet.model_of(gpu["name"]):
        return [(NOTE, "cvl-ci has no sheet of this GPU, so its speed was not judged")]
    return [(SLOW, words) for words in sheet.too_slow(gpu, capability=figures.get("capability", 0))]


def add_allreduce(findings: Findings, answer: dict[str, Any] | None) -> None:
    """Add the rate between the nodes, and what speaks against their network. None: there was no answer in time."""
    if answer is None:
        findings.add(UNKNOWN, "the nodes together gave no answer to NCCL's all-reduce in time")
    elif "error" in answer:
        findings.add(UNKNOWN, f"NCCL's all-reduce across the nodes failed: {answer['error']}")
    elif "note" in answer:
        findings.add(NOTE, f"NCCL's all-reduce across the nodes was not measured: {answer['note']}")
    elif answer.get("is_right") is False:
        findings.add(BROKEN, "NCCL's all-reduce across the nodes gave wrong sums")
    elif answer.get("gbs") is not None:
        findings.host["allreduce_gbs"] = answer["gbs"]


def _allreduce(group: allreduce.Group, *, seconds: float) -> dict[str, Any] | None:
    """Return the answer of a process of its own; empty without NCCL, None without an answer."""
    if seconds < LEAST_SECONDS:
        return {"note": "the other steps took all the time"}
    words = (str(group.rank), str(group.nodes), group.head)
    text = _answer("print_allreduce", *words, seconds=seconds)
    answer = None if text is None else json.loads(text)
    return answer if isinstance(answer, dict) else None


def print_allreduce(rank: str, nodes: str, head: str) -> None:
    """Write the answer about the nodes to stdout, as JSON for `_allreduce`."""
    from . import cuda

    try:
        answer = allreduce.measure(allreduce.Group(rank=int(rank), nodes=int(nodes), head=head))
    except allreduce.NodeAbsent as error:
        answer = {"note": str(error)}
    except (allreduce.NcclError, cuda.DriverError) as error:
        answer = {"error": str(error)}
    except OSError:  # no libnccl.so.2, or no libcuda.so.1
        answer = {}
    sys.stdout.write(json.dumps(answer))


def _measured() -> list[dict[str, Any]] | None:
    """Return the figures that a process of its own measured; None without an answer. An error of `cuInit` is one."""
    text = _answer("print_measurements", seconds=CUDA_SECONDS)
    answer = None if text is None else json.loads(text)
    return answer if isinstance(answer, list) else None


def _answer(function: str, *words: str, seconds: float) -> str | None:
    """Return the JSON that a function of this module prints in a process of its own; None without one in time."""
    program = f"import sys; sys.path.insert(0, sys.argv[1]); from fitness import main; main.{function}(*sys.argv[2:])"
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", program, folder, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        text = process.communicate(timeout=seconds)[0].decode("utf-8", "replace")
        json.loads(text)
    except ValueError:
        return None
    except subprocess.TimeoutExpired:
        process.kill()  # without a wait: a process inside a sick driver cannot end
        return None
    return text


def print_measurements() -> None:
    """Write the measurements to stdout, as JSON for `_measured`. Without the driver's library, write nothing."""
    from . import cuda

    try:
        measured = cuda.measure()
    except cuda.DriverError as error:
        measured = [{"error": str(error), "code": BROKEN_INIT}]
    except OSError:  # no libcuda.so.1
        return
    sys.stdout.write(json.dumps(measured))


BROKEN_INIT = 46
"""A driver that shows a GPU in nvidia-smi and cannot be initialised three times: as CUDA_ERROR_DEVICE_UNAVAILABLE."""


def _has_gpus() -> bool:
    return os.path.exists("/dev/nvidiactl")


def _findings_before(state: str) -> dict[str, Any]:
    try:
        with open(os.path.join(state, "fitness-before"), encoding="utf-8") as file:
            earlier = json.load(file)["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return earlier if isinstance(earlier, dict) else {}


def _write(path: str, text: str) -> None:
    with open(f"{path}.tmp", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.tmp", path)
