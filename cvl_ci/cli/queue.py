"""The verb `queue`: jobs that need each other, from a file or from the presets of one example."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from cvl_ci.cli.stopping import Stopping
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs import line_parser
from cvl_ci.inputs.option import EntryPoint
from cvl_ci.inputs.table import run_options
from cvl_ci.local.console.streams import Console

if TYPE_CHECKING:
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.queue import Queue

OUTPUTS = Path("cvl-outputs/queue")
"""A second queue of this folder reads its record there, and runs no finished job again."""
MACHINE_OF_CHAIN = "chain"
"""The machine that all presets of `--example` share: one builds what the next runs."""


def queue(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console, *, owner: Owner) -> int:
    """Run a queue and return its exit code. Raises CvlError."""
    from cvl_ci.model.queue import JobRecord, JobState
    from cvl_ci.result import queue_text
    from cvl_ci.result.queue_result import QueueResult
    from cvl_ci.wiring import queue as wired_queue
    from cvl_ci.wiring.queue_runs import QueueCaller

    queued = _queue(parsed)
    if parsed.estimate_cost:
        return _say_estimate(queued, environ, console, owner=owner)
    terminal = console.terminal()
    stopping = Stopping(terminal.warning)
    states = {job.id: JobRecord() for job in queued.jobs}
    starts: dict[str, float] = {}
    terminal.draw_above(
        lambda: queue_text.live(dict(states), seconds={name: monotonic() - at for name, at in dict(starts).items()})
    )
    lock = threading.Lock()

    def line(job: str, text: str) -> None:
        with lock:
            terminal.show_job_line(f"{job} | {text}")

    def tell(text: str) -> None:
        with lock:
            terminal.notice(text)

    def changed(name: str, record: JobRecord) -> None:
        before, states[name] = states[name], record
        if record.state is before.state and record.is_gone:
            return  # only its share of the cost came
        if record.state is JobState.RUNNING:
            starts[name] = monotonic()
        note = queue_text.note(record)
        tell(f"{name} {record.state.value}{f': {note}' if note else ''}")
        with lock:
            terminal.progress(queue_text.progress(states))

    caller = QueueCaller(
        folder=Path.cwd(),
        outputs=Path(parsed.outputs_dir) if parsed.outputs_dir else OUTPUTS,
        environ=environ,
        owner=owner,
        masks=console.masks,
        line=line,
        tell=tell,
        changed=changed,
    )
    try:
        with stopping:
            records = wired_queue.run(queued, caller)
    finally:
        terminal.close()
    console.say(*queue_text.table(records))
    return int(QueueResult(records, fails_on_infrastructure=parsed.infra_failures == "fail"))


def _say_estimate(queued: Queue, environ: Mapping[str, str], console: Console, *, owner: Owner) -> int:
    from cvl_ci.wiring import queue as wired_queue
    from cvl_ci.wiring.queue_runs import QueueCaller

    caller = QueueCaller(
        folder=Path.cwd(),
        outputs=OUTPUTS,
        environ=environ,
        owner=owner,
        masks=console.masks,
        line=lambda _job, _text: None,
        tell=console.tell,
    )
    console.say(*wired_queue.estimate(queued, caller).lines)
    return 0


def _queue(parsed: argparse.Namespace) -> Queue:
    from cvl_ci.wiring import queue as wired_queue

    mistakes = line_parser.line_mistakes(parsed)
    words: list[str] = list(parsed.words)
    values: dict[str, Any] = {
        option.name: value
        for option in run_options(EntryPoint.CLI)
        if not option.is_positional and (value := getattr(parsed, option.name, None)) is not None
    }
    top = {name: _number(parsed, name, mistakes) for name in ("max_parallel", "budget")}
    if not words:
        problem = "is missing: name a file with jobs, or an example and its presets with --example"
        mistakes.append(InputProblem(field="FILE", value="", problem=problem))
    elif len(words) > 1 and not parsed.example:
        problem = "is one word too many: give one file, or an example with --example"
        mistakes.append(InputProblem(field="command line", value=" ".join(words[1:]), problem=problem))
    if mistakes:
        raise RequestError(mistakes)
    if parsed.example:
        jobs = [
            {
                "id": preset,
                "example": parsed.example,
                "preset": preset,
                "needs": words[number - 1 : number] or None,
                "machine": MACHINE_OF_CHAIN if len(words) > 1 else None,
            }
            for number, preset in enumerate(words)
        ]
        document = {"jobs": [{key: value for key, value in job.items() if value} for job in jobs]}
        return _with_limits(wired_queue.of(document, overrides=values), top)
    return _with_limits(wired_queue.read(Path(words[0]), overrides=values), top)


def _number(parsed: argparse.Namespace, name: str, mistakes: list[InputProblem]) -> Any:
    from cvl_ci.inputs.parsers import Wrong
    from cvl_ci.inputs.table import BY_NAME

    value = getattr(parsed, name, None)
    try:
        return None if value is None else BY_NAME[name].read(value)
    except Wrong as wrong:
        mistakes.append(InputProblem(field=BY_NAME[name].flag, value=str(value), problem=wrong.problem))
        return None


def _with_limits(queued: Queue, top: Mapping[str, Any]) -> Queue:
    from dataclasses import replace

    return replace(queued, **{name: value for name, value in top.items() if value is not None})
