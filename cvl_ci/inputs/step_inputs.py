"""The inputs that the action alone takes: the verb, the trust in a pull request, and the ways in which it publishes."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import parsers
from cvl_ci.inputs.option import ACTION, COMMANDS, option
from cvl_ci.model.secret import Secret

VERBS = ("run", "plan", "reap", "matrix", "report", "history", "models", "queue", "deploy", "collect")


@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """The verb of a step, its leg of the workflow's matrix, and its token for GitHub."""

    verb: str = option(
        parsers.choice(*VERBS),
        value="run",
        help="`run`; `plan` only shows the plan and its price; `reap`, on a schedule, ends machines that "
        "outlived their run; `matrix`, `report` and `history` are for many runs; `models` stores models; "
        "`queue` runs jobs that need each other; `deploy` starts a service, or ends it with `down: true`; "
        "`collect`, on a schedule, fetches the results of detached runs.",
        action_default="run",
        entry_points=ACTION,
    )
    leg: str = option(
        parsers.text,
        value="",
        help="Tells the legs of a matrix apart; leave it as it is.",
        action_default="${{ toJSON(matrix) }}",
        entry_points=ACTION,
    )
    check_run: str = option(
        parsers.text,
        value="",
        help="Tells a report in which attempt a job ran; leave it as it is.",
        action_default="${{ job.check_run_id }}",
        entry_points=ACTION,
    )
    github_token: Secret | None = option(
        lambda value: Secret(parsers.text(value)),
        help="The token that writes the comment on the pull request.",
        action_default="${{ github.token }}",
        entry_points=ACTION,
    )


@dataclass(frozen=True, kw_only=True)
class ReapInputs:
    """The patience of a sweep, and whether it only lists the machines."""

    grace: str = option(
        parsers.text,
        value="",
        help="How long `reap` waits after a machine's deadline or its run's end.",
        metavar="TIME",
        example="30m",
        default="10m",
        entry_points=COMMANDS,
        verbs=("reap",),
    )
    dry_run: bool = option(
        parsers.flag,
        value=False,
        help="List the machines that `reap` would end, and end none.",
        entry_points=COMMANDS,
        verbs=("reap",),
    )


@dataclass(frozen=True, kw_only=True)
class PublicationInputs:
    """The comment on the pull request, and the artifacts. `retention_days` None: the repository's own."""

    comment: str = option(
        parsers.choice("auto", "always", "failure", "never"),
        value="auto",
        help="The comment on the pull request. `auto` and `always` write it, and `always` warns when it "
        "cannot. `failure` writes it only when the run did not succeed; `never` never.",
        action_default="auto",
        entry_points=ACTION,
    )
    comment_group: str = option(
        parsers.text,
        value="",
        help="Jobs with the same word here share one comment, with a row for each job and matrix leg.",
        entry_points=ACTION,
    )
    artifact_name: str = option(
        parsers.text,
        value="",
        help="The name of the artifact with the fetched files; NAME-checkpoints, NAME-log and NAME-cost "
        "belong to it. The values of a matrix leg and a re-run's attempt are added.",
        default="cvl-JOB",
        entry_points=ACTION,
    )
    retention_days: int | None = option(
        parsers.retention_days,
        help="How many days GitHub keeps the artifacts, within the repository's own limit, which is the "
        "default. 0 uploads nothing.",
        entry_points=ACTION,
    )


@dataclass(frozen=True, kw_only=True)
class TrustInputs:
    """The trust in code that may be a stranger's."""

    fork: str = option(
        parsers.choice("plan", "fail", "sandbox", "run"),
        value="plan",
        help="For a pull request of a fork, or of Dependabot without credentials. `plan` only shows the plan "
        "and ends neutral; `fail` fails; `sandbox` runs it there, free; `run` spends the credentials "
        "that it finds.",
        action_default="plan",
        entry_points=ACTION,
    )
    allow_fork_sha: str = option(
        parsers.text,
        value="",
        help="For events that run with this repository's secrets: the commit, all 40 digits, that a "
        "maintainer reviewed and allows. It must be the checked-out commit. On `pull_request_target` "
        "and `workflow_run` it must also be the current head.",
        entry_points=ACTION,
    )


STEP_GROUPS = (StepInputs, ReapInputs, PublicationInputs, TrustInputs)
