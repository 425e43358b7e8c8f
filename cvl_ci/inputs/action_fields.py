"""What the action takes and gives beside the one table of inputs: action.yml and the README say the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ActionField:
    name: str
    help: str
    default: str = ""


ACTION_INPUTS = (
    ActionField(
        name="verb",
        help="`run`; `plan` only shows the plan and its price; `reap`, on a schedule, ends machines that "
        "outlived their run; `matrix`, `report` and `history` are for many runs.",
        default="run",
    ),
    ActionField(
        name="grace",
        help="How long `verb: reap` waits after a machine's deadline or its run's end. Such as `30m`. If not "
        "given: 10m.",
    ),
    ActionField(name="dry_run", help="`true`: `verb: reap` lists the machines, and ends none."),
    ActionField(
        name="github_token",
        help="The token that writes the comment on the pull request.",
        default="${{ github.token }}",
    ),
    ActionField(
        name="comment",
        help="The comment on the pull request. `auto` and `always` write it, and `always` warns when it "
        "cannot. `failure` writes it only when the run did not succeed; `never` never.",
        default="auto",
    ),
    ActionField(
        name="comment_group",
        help="Jobs with the same word here share one comment, with a row for each job and matrix leg.",
    ),
    ActionField(
        name="artifact_name",
        help="The name of the artifact with the fetched files; NAME-checkpoints, NAME-log and NAME-cost "
        "belong to it. The values of a matrix leg and a re-run's attempt are added. If not given: "
        "cvl-JOB.",
    ),
    ActionField(
        name="retention_days",
        help="How many days GitHub keeps the artifacts, within the repository's own limit, which is the "
        "default. 0 uploads nothing.",
    ),
    ActionField(
        name="fork",
        help="For a pull request of a fork, or of Dependabot without credentials. `plan` only shows the plan "
        "and ends neutral; `fail` fails; `sandbox` runs it there, free; `run` spends the credentials "
        "that it finds.",
        default="plan",
    ),
    ActionField(
        name="allow_fork_sha",
        help="For events that run with this repository's secrets: the commit, all 40 digits, that a "
        "maintainer reviewed and allows. It must be the checked-out commit. On `pull_request_target` "
        "and `workflow_run` it must also be the current head.",
    ),
    ActionField(
        name="leg",
        help="Tells the legs of a matrix apart; leave it as it is.",
        default="${{ toJSON(matrix) }}",
    ),
    ActionField(
        name="check_run",
        help="Tells a report in which attempt a job ran; leave it as it is.",
        default="${{ job.check_run_id }}",
    ),
)

ACTION_OUTPUTS = (
    ActionField(
        name="ending",
        help="How the run ended, such as `succeeded`, `failed` or `never_started`; `skipped` when a fork got "
        "only its plan.",
    ),
    ActionField(name="reason", help="The reason, in a sentence."),
    ActionField(name="exit_code", help="The exit code of the run."),
    ActionField(name="cluster", help="The name of the lease and of its machines."),
    ActionField(name="cloud", help="The cloud on which it ran."),
    ActionField(name="region", help="The region of that cloud."),
    ActionField(name="accelerator", help="The accelerators, such as `L4:1`."),
    ActionField(name="spot", help="`true` when the machines were spot."),
    ActionField(name="hourly_usd", help="The price of all its machines, in US dollars an hour."),
    ActionField(name="cost_usd", help="The measured time at the catalogue's price, in US dollars."),
    ActionField(name="estimated_usd", help="The upper limit of the quote, in US dollars."),
    ActionField(name="duration_seconds", help="Seconds from the quote to the proof of release."),
    ActionField(name="outputs_dir", help="The folder in the workspace with the fetched files."),
    ActionField(name="metrics", help="The metrics that the job wrote, as JSON."),
    ActionField(
        name="released",
        help="`true` when the provider confirmed that no machine remains; `kept until TIME` with "
        "keep_on_failure; else `false`.",
    ),
    ActionField(name="ssh_command", help="The command that logs in to a kept machine."),
    ActionField(name="artifact_id", help="The number of the artifact with the fetched files."),
    ActionField(name="artifact_url", help="The address of that artifact."),
)
