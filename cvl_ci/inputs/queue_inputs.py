"""The inputs of the verb `queue`, next to those of a run, which count for each of its jobs."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import parsers
from cvl_ci.inputs.matrix_inputs import read_list
from cvl_ci.inputs.option import ACTION, CLI, COMMANDS, option


@dataclass(frozen=True, kw_only=True)
class QueueInputs:
    """The file of a queue, and its own limits. `words`: the file, or the presets of one example."""

    words: tuple[str, ...] = option(
        read_list,
        value=(),
        help="The file with the jobs; with `--example`, presets of it that run one after the other.",
        metavar="FILE|PRESET...",
        example="queue.yaml",
        is_positional=True,
        is_repeatable=True,
        entry_points=CLI,
        verbs=("queue",),
    )
    queue: str = option(
        parsers.text,
        value="",
        help="The file with the jobs of `verb: queue`, or the jobs as a JSON object. `verb: matrix` with `pack` writes "
        "such objects. The other inputs of a run count for each of its jobs.",
        metavar="FILE",
        example="queue.yaml",
        entry_points=ACTION,
        verbs=("queue",),
    )
    max_parallel: int | None = option(
        parsers.whole_number,
        help="The most jobs at a time.",
        metavar="N",
        example="2",
        default="the file's own number, else 4",
        entry_points=COMMANDS,
        verbs=("queue",),
    )


QUEUE_GROUPS = (QueueInputs,)
