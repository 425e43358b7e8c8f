"""Read which mount failed on a node, and put it into one sentence. A machine may write anything: only values count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cvl_ci.model.mount import digest
from cvl_ci.model.node_end import FailedMount, MountFault, NodeEnd
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.storage_rules import file_mounts

CODE = 74
"""With it machine/mounts.sh ends a node: EX_IOERR of sysexits.h."""
_FAULTS = {fault.value: fault for fault in MountFault}
_SENTENCES = {
    MountFault.UNMADE: "The machine could not make the path {target} of a mount, so the job did not begin",
    MountFault.INCOMPLETE: "{target} did not get all files of {source}, so the job did not begin",
    MountFault.DIFFERENT: "{target} has other files than {source} after its copy, so the job did not begin",
    MountFault.UNPROVED: "The bucket gave no valid answer about {source}, so {target} is not proved and the job did "
    "not begin",
    MountFault.UNSENT: "The job succeeded, but the bucket is not proved to have all files that it wrote to {target}",
}


def read(text: str) -> FailedMount | None:
    """Return the mount that a node names, as `FAULT DIGEST`; None for any other text."""
    fault, _, name = text.partition(" ")
    return FailedMount(fault=_FAULTS[fault], digest=name) if _is_valid(fault, name) else None


def why(nodes: Sequence[NodeEnd], *, plan: RunPlan, begun: int) -> str:
    """Return why a mount failed; empty if none did. `nodes`: all of them. `begun`: on how many the job began.

    After its job began, a machine's words about the time before are the job's words. A job that failed by itself stays
    a failed job.
    """
    failed = [(node, node.failed_mount) for node in nodes if node.failed_mount and node.exit_code == CODE]
    before = [(node, one) for node, one in failed if one.fault is not MountFault.UNSENT]
    if before and len(before) + begun <= len(nodes):
        return _sentence(*before[0], plan=plan, of=len(nodes))
    after = [(node, one) for node, one in failed if one.fault is MountFault.UNSENT]
    others_succeeded = all(node.exit_code == 0 for node in nodes if node not in [one for one, _ in after])
    return _sentence(*after[0], plan=plan, of=len(nodes)) if after and others_succeeded else ""


def _is_valid(fault: str, name: str) -> bool:
    return fault in _FAULTS and re.fullmatch(r"[0-9a-f]{8}", name) is not None


def _sentence(node: NodeEnd, failed: FailedMount, *, plan: RunPlan, of: int) -> str:
    target, source = _named(plan).get(failed.digest, ("its cached mounts", "their buckets"))
    place = f" (node {node.rank} of {of})" if of > 1 else ""
    return _SENTENCES[failed.fault].format(target=target, source=source) + f"{place}."


def _named(plan: RunPlan) -> dict[str, tuple[str, str]]:
    """Return path and source of each mount by the digest of its path."""
    own = {
        target: str(entry.get("source") or entry.get("name") if isinstance(entry, Mapping) else entry)
        for target, entry in file_mounts(plan).items()
    }
    mounts = {mount.target: mount.source for mount in plan.files.mounts}
    return {digest(target): (target, source) for target, source in {**own, **mounts}.items()}
