"""Write the shell text and the variable with which a node stores and restores checkpoints (machine/checkpoints)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources

from cvl_ci.inputs.patterns import HIGH, patterns
from cvl_ci.model.node_end import CHECKPOINTS, RESULTS, NodeEnd
from cvl_ci.model.plan import RunPlan

VARIABLE = "CVL_CI_CHECKPOINTS"
UNREAD_CODE = 75
"""With it machine/checkpoints.sh ends a node that cannot read them, as detached.sh does: EX_TEMPFAIL of sysexits.h."""
_BEFORE = frozenset({CHECKPOINTS, RESULTS})
_PROGRAMS = ("scan", "sync", "snapshot", "rounds", "bucket", "local_folder", "notice", "main")
"""The modules of machine/checkpoints/, which import each other on the machine too."""
_END_OF_FILE = "CVL_CI_END_OF_CHECKPOINTS"
_ALL_BELOW = re.compile(r"(?:/\*\*)+/?$")


def environment(plan: RunPlan) -> dict[str, str]:
    """Return the variable that tells a node its checkpoints and their place; none without a place.

    Without a bucket, the node stores them in a folder of its own, and the runner copies them (checkpoint_copy.py).
    """
    one = plan.checkpoints
    if not one.is_stored:
        return {}
    request = {
        "bucket": one.place.bucket if one.place else "",
        "work": one.place.below(one.work) if one.place else "",
        "run": one.run,
        "rules": rules(one.globs, directory=plan.work.directory),
        "every": one.every_seconds,
        "keep": one.keep,
        "resume": one.resume.value,
        "attempt": one.attempt,
    }
    return {VARIABLE: json.dumps(request)}


def rules(globs: tuple[str, ...], *, directory: str) -> list[list[str]]:
    """Return `[sign, expression]` of each glob. `weights/**` names what lies in the folder, and not the folder."""
    below = [_ALL_BELOW.sub("/*", glob) if glob.strip("!") != "**" else glob.replace("**", "*") for glob in globs]
    high = "\\x80-\\xbf"
    return [
        ["-" if one.takes_out else "+", one.expression.replace(HIGH, high)]
        for one in patterns(below, directory=directory)
    ]


def before(plan: RunPlan) -> str:
    """Return the text that restores the last checkpoint before the commands; empty without a place."""
    if not plan.checkpoints.is_stored:
        return ""
    folder = "$cvl_ci_state/checkpoints"
    files = [
        f"cat > \"{folder}/{name}.py\" << '{_END_OF_FILE}'\n{_read(f'checkpoints/{name}.py')}{_END_OF_FILE}"
        for name in _PROGRAMS
    ]
    return "\n".join([f'mkdir -p "{folder}"', *files, _read("checkpoints.sh")])


def during(plan: RunPlan) -> str:
    """Return the text that begins to store checkpoints. The job's end waits for the last one."""
    return "cvl_ci_sync" if plan.checkpoints.is_stored else ""


def believed(nodes: Sequence[NodeEnd], *, begun: int) -> tuple[NodeEnd, ...]:
    """Return the nodes, with a phase before the job only where it can be true. `begun`: on how many the job began.

    After its job began, a machine's words about the time before are the job's words.
    """
    unread = [node for node in nodes if node.phase in _BEFORE and node.exit_code == UNREAD_CODE]
    true = unread if len(unread) + begun <= len(nodes) else []
    return tuple(
        replace(node, phase="running") if node.phase in _BEFORE and node not in true else node for node in nodes
    )


def _read(name: str) -> str:
    return resources.files("cvl_ci.engine").joinpath("machine").joinpath(name).read_text(encoding="utf-8")
