"""Tell whether a job began on any node. A job that never began says nothing about the code.

Each trace counts by itself: the lines that the stream delivered before the job's first line, the node's marks, its
report of an end, and its logs. A job can add traces, which makes its failure a failure of the job. It can delete only
the traces on its own machine. There SkyPilot's own state of the job is one more trace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cvl_ci.engine import sky_errors
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.task import script

_LONGEST_STATUS = 30
_UNENDED = frozenset({"INIT", "PENDING", "SETTING_UP", "RUNNING"})
"""SkyPilot's states of a job that is not over: sky/skylet/job_lib.py, JobStatus."""
_ENDED_BY_ITS_TEXT = frozenset({"FAILED", "SUCCEEDED"})
"""SkyPilot's states of a job whose own text ended, with an exit code: sky/backends/task_codegen.py.

A job that could not start is FAILED_DRIVER or FAILED_SETUP.
"""


def has_begun(answers: Sequence[Mapping[str, Any]], *, stream: Following) -> bool:
    """Tell whether setup or the job began on any node. `answers`: what the nodes printed for script.end."""
    return stream.nodes_begun > 0 or any(_has_begun(rank, answer["out"]) for rank, answer in enumerate(answers))


def has_deleted_traces(answers: Sequence[Mapping[str, Any]], *, status: object) -> bool:
    """Tell whether a job ended and no node has the mark that each node makes before anything else: the job deleted it.

    `status`: SkyPilot's state of the job, as its worker returned it.
    """
    has_ended = isinstance(status, str) and status in _ENDED_BY_ITS_TEXT
    return has_ended and not any(_marks(answer["out"]) for answer in answers)


def has_prepared(answers: Sequence[Mapping[str, Any]], *, stream: Following) -> bool:
    """Tell whether any node began cvl-ci's own text, which probes the machine and copies mounts before the job."""
    has_mark = any(_marks(answer["out"]) for answer in answers)
    return stream.start is not None or has_mark or has_begun(answers, stream=stream)


def why_never(status: object, *, num_nodes: int, is_out_of_time: bool) -> str:
    """Return the reason in one sentence. `status`: SkyPilot's state of the job, as its worker returned it.

    A machine stores that state. So only a word in its form is shown.
    """
    nodes = "its machine" if num_nodes == 1 else f"any of its {num_nodes} nodes"
    begin = f"The job never began on {nodes}" + (" before the end of the run's time" if is_out_of_time else "")
    if not isinstance(status, str) or not re.fullmatch(rf"[A-Z_]{{1,{_LONGEST_STATUS}}}", status):
        return f"{begin}, and SkyPilot does not know why."
    state = "still shows it as" if status in _UNENDED else "ended it as"
    return f"{begin}: SkyPilot {state} {status}."


def _has_begun(rank: int, text: str) -> bool:
    end = sky_errors.read_end(rank, text)
    logs = sky_errors.read_sums(text) or sky_errors.read_sizes(text)
    return end.exit_code is not None or bool(logs) or bool(_marks(text) & set(script.BEGUN_MARKS))


def _marks(text: str) -> set[str]:
    lines = text.splitlines()[: sky_errors.END_LINES]
    return {line.removeprefix("mark=") for line in lines if line.startswith("mark=")} & set(script.MARKS)
