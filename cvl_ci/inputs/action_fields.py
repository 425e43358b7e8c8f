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
        help="`run`, or `plan` to only see what would run and what it may cost, or `reap`, for a schedule, to end what "
        "outlived its run; of many runs `matrix`, `report` and `history`.",
        default="run",
    ),
    ActionField(
        name="grace",
        help="`verb: reap` leaves a machine alone this long after its deadline or its run's end. Such as `30m`. "
        "If not given: 10m.",
    ),
    ActionField(name="dry_run", help="`true`: `verb: reap` says what it would end, and ends nothing."),
    ActionField(
        name="github_token",
        help="The token that writes the comment on the pull request.",
        default="${{ github.token }}",
    ),
    ActionField(
        name="comment",
        help="The comment on the pull request: `auto` and `always` write it, and `always` warns when it cannot; "
        "`failure` only when the run did not succeed; `never`.",
        default="auto",
    ),
    ActionField(
        name="comment_group",
        help="Jobs that give the same word share one comment, with a row for each job and matrix leg.",
    ),
    ActionField(
        name="artifact_name",
        help="What the artifact of the fetched files is called; with it go NAME-checkpoints, NAME-log and NAME-cost. "
        "A matrix leg's values that it does not hold, and a re-run's attempt, are added. If not given: cvl-JOB.",
    ),
    ActionField(
        name="retention_days",
        help="How many days artifacts are kept, within the repository's own limit, which also is what holds if not "
        "given; 0 uploads nothing.",
    ),
    ActionField(
        name="fork",
        help="A pull request of a fork, or of Dependabot without credentials: `plan` only shows the plan and ends "
        "neutral; `fail`; `sandbox` runs it there for nothing; `run` spends whatever credentials it finds.",
        default="plan",
    ),
    ActionField(
        name="allow_fork_sha",
        help="On `pull_request_target`, `workflow_run` and `issue_comment`: the commit, all 40 digits, that a "
        "maintainer reviewed and lets run with this repository's secrets. It has to be what is checked out, and on the "
        "first two the proposed head still.",
    ),
    ActionField(
        name="leg",
        help="Tells the legs of a matrix apart; leave it as it is.",
        default="${{ toJSON(matrix) }}",
    ),
)

ACTION_OUTPUTS = (
    ActionField(
        name="ending",
        help="How it ended, such as `succeeded`, `failed` or `never_started`; `skipped` when a fork got only its plan.",
    ),
    ActionField(name="reason", help="Why, in a sentence."),
    ActionField(name="exit_code", help="The exit code of the run."),
    ActionField(name="cluster", help="The name of the lease and of its machines."),
    ActionField(name="cloud", help="Where it ran."),
    ActionField(name="region", help="Where in that cloud."),
    ActionField(name="accelerator", help="On which accelerators, such as `L4:1`."),
    ActionField(name="spot", help="`true` when the machines were spot."),
    ActionField(name="hourly_usd", help="What all its machines cost an hour, in US dollars."),
    ActionField(name="cost_usd", help="Measured time at the catalogue's price."),
    ActionField(name="estimated_usd", help="The most that the quote said it can cost."),
    ActionField(name="duration_seconds", help="From the quote to the proof of release."),
    ActionField(name="outputs_dir", help="The folder in the workspace that holds the fetched files."),
    ActionField(name="metrics", help="What the example wrote in its metrics.json, as JSON."),
    ActionField(
        name="released",
        help="`true` when it is proved that no machine is left; "
        "`kept until TIME` when keep_on_failure keeps it until then; else `false`.",
    ),
    ActionField(name="ssh_command", help="How to log in to a machine that keep_on_failure keeps."),
    ActionField(name="artifact_id", help="The number of the artifact of the fetched files."),
    ActionField(name="artifact_url", help="Its address."),
)
