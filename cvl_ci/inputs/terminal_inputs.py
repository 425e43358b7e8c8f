"""The inputs of a terminal alone: the form and the place of an answer, and the machines that a verb asks about.

A verb that takes an input of another verb in other words has a view of it: the table holds these.
"""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import parsers
from cvl_ci.inputs.option import CLI, RUN_VERBS, option


@dataclass(frozen=True, kw_only=True)
class AnswerInputs:
    """The form of an answer, and the files and folders that hold it."""

    json: bool = option(
        parsers.flag,
        value=False,
        help="Print JSON, for programs.",
        entry_points=CLI,
        verbs=("plan", "prices", "cost", "status", "sandbox status"),
    )
    yaml: bool = option(
        parsers.flag,
        value=False,
        help="Print the SkyPilot task.",
        entry_points=CLI,
        verbs=("plan", "deploy"),
    )
    estimate_cost: bool = option(
        parsers.flag,
        value=False,
        help="Print only the price of an hour and the bounds of the run or the queue; start nothing.",
        entry_points=CLI,
        verbs=(*RUN_VERBS, "queue"),
    )
    json_summary: str = option(
        parsers.text,
        value="",
        help="Write the outcome as JSON.",
        metavar="FILE",
        entry_points=CLI,
        verbs=("run", "deploy"),
    )
    outputs_dir: str = option(
        parsers.text,
        value="",
        help="The folder for fetched files.",
        metavar="DIR",
        default="cvl-outputs/CLUSTER",
        entry_points=CLI,
        verbs=("run", "queue", "collect"),
    )
    no_follow: bool = option(
        parsers.flag,
        value=False,
        help="Show the lines until now, and wait for no more.",
        entry_points=CLI,
        verbs=("logs",),
    )


@dataclass(frozen=True, kw_only=True)
class OpenServiceInputs:
    """A service that runs already: the list of all, or the name of one."""

    lists: bool = option(
        parsers.flag,
        value=False,
        help="List the open services.",
        flag_name="list",
        entry_points=CLI,
        verbs=("deploy",),
    )
    service_name: str = option(
        parsers.text,
        value="",
        help="Ask one service whether it answers.",
        metavar="NAME",
        flag_name="status",
        entry_points=CLI,
        verbs=("deploy",),
    )
    log_name: str = option(
        parsers.text,
        value="",
        help="Show the last 200 lines of one service, from its machine.",
        metavar="NAME",
        flag_name="logs",
        entry_points=CLI,
        verbs=("deploy",),
    )
    follow: bool = option(
        parsers.flag,
        value=False,
        help="With `--logs`: show further lines until Ctrl-C.",
        entry_points=CLI,
        verbs=("deploy",),
    )
    update_name: str = option(
        parsers.text,
        value="",
        help="Replace the replicas of this service in place, one after the other. CVL_CI_DEPLOY_TOKEN is its token.",
        metavar="NAME",
        flag_name="update",
        entry_points=CLI,
        verbs=("deploy",),
    )
    down_name: str = option(
        parsers.text,
        value="",
        help="Take one service down, with proof.",
        metavar="NAME",
        flag_name="down",
        entry_points=CLI,
        verbs=("deploy",),
    )


@dataclass(frozen=True, kw_only=True)
class OwnedMachineInputs:
    """The machines that a verb keeps or ends: those of the sandbox, and those of a repository."""

    keep_sandbox: bool = option(
        parsers.flag,
        value=False,
        help="Keep the sandbox up after the run.",
        entry_points=CLI,
        verbs=("run",),
    )
    owner: str = option(
        parsers.text,
        value="",
        help="The repository whose leases to end.",
        metavar="OWNER/NAME",
        default="GITHUB_REPOSITORY",
        entry_points=CLI,
        verbs=("reap",),
    )
    all_owners: bool = option(
        parsers.flag,
        value=False,
        help="The leases of every repository; for others, the deadline alone decides.",
        entry_points=CLI,
        verbs=("reap",),
    )


TERMINAL_GROUPS = (AnswerInputs, OpenServiceInputs, OwnedMachineInputs)
