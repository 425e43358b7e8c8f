"""What the action is asked with `verb: matrix`, `report` and `history` alone: a table beside that of action_fields.py.

Read as verb_fields.py reads the options of the same names. Where a folder would be named in a terminal, the workflow's
own artifacts are taken.
"""

from __future__ import annotations

from cvl_ci.request.action_fields import ActionField

MATRIX_INPUTS = (
    ActionField(name="examples", help="Which examples: paths, names or patterns. One a line. If not given: all."),
    ActionField(
        name="presets",
        help="Which of their presets, as names or patterns. If not given: `train` and `predict`, or the only one.",
    ),
    ActionField(name="clouds", help="Each of these is a leg: cloud[/region[/zone]]. If not given: any, which is one."),
    ActionField(
        name="gpus", help="Each of these is a leg. Such as `L4:1,A10G:1`. If not given: what the example declares."
    ),
    ActionField(
        name="changed_since",
        help="Only examples of whose files one changed since the checkout left this commit or branch: the files that "
        "go to the machine.",
    ),
    ActionField(
        name="budget", help="Most that all legs together may cost, in US dollars; others are left out by name."
    ),
    ActionField(name="shard", help="Only this part of the legs, such as `1/3`: GitHub takes at most 256 in a matrix."),
    ActionField(
        name="on_dropped",
        help="Whether a leg that cannot run makes it red: one without a known price, over a budget, or with a mistake. "
        "`warn` or `fail`; the outputs are set either way. If not given: warn.",
    ),
)

REPORT_INPUTS = (
    ActionField(
        name="folders",
        help="Where the legs' `<lease>.json` files lie: a folder of them, or of unpacked artifacts NAME-cost. If not "
        "given: the artifacts of this run of the workflow.",
    ),
    ActionField(
        name="history",
        help="Where earlier runs are kept: `artifacts` of this workflow on the base branch, for as long as the "
        "repository keeps them; `branch` for good, which `verb: history` writes; `none`.",
        default="artifacts",
    ),
    ActionField(name="branch", help="With `history: branch`, which one. If not given: cvl-ci-history."),
    ActionField(name="remote", help="Where that branch is. If not given: origin."),
    ActionField(
        name="baseline_workflow",
        help="The file name of another workflow whose runs to compare with, such as `nightly-benchmark.yml`.",
    ),
    ActionField(
        name="base",
        help="The commit or branch to compare with; where it was never run, its nearest ancestor that was. If not "
        "given: the pull request's base, else the commit before.",
    ),
    ActionField(
        name="rules",
        help="Which metrics are better high or low, and how much worse is too much. If not given: cvl-ci.yml, where "
        "there is one.",
    ),
    ActionField(
        name="infra_failures",
        help="Whether legs that had no machine, quota or credentials, or lost their machine, make it red: `neutral` or "
        "`fail`. If not given: neutral.",
    ),
    ActionField(name="nights", help="How many earlier runs a trend shows. If not given: 14."),
    ActionField(name="into", help="The folder for what is written. If not given: cvl-report."),
    ActionField(
        name="expected",
        help="The output `expected` of `verb: matrix`: a leg of it that left no summary is named and makes it red, and "
        "so does a leg that was left out, where on_dropped is `fail`.",
    ),
    ActionField(
        name="issue",
        help="`true`: an issue is opened when a leg got worse or failed, and closed when all such legs are fine again. "
        "Not on pull requests. Takes `issues: write`.",
    ),
)

MANY_INPUTS = (*MATRIX_INPUTS, *REPORT_INPUTS)

TAKES = {
    "matrix": frozenset(one.name for one in MATRIX_INPUTS),
    "report": frozenset(one.name for one in REPORT_INPUTS),
    "history": frozenset({"folders", "branch", "remote", "into"}),
}

MANY_OUTPUTS = (
    ActionField(name="matrix", help="`verb: matrix`: JSON, which `fromJSON` makes `strategy.matrix` of."),
    ActionField(
        name="expected",
        help="`verb: matrix`: JSON for the input of the same name: which legs run, which were left out and why.",
    ),
    ActionField(
        name="legs",
        help="`verb: matrix`, `report` and `history`: how many legs. With 0 the job of the legs is to be skipped, and "
        "the report is not.",
    ),
    ActionField(name="dropped", help="`verb: matrix`: which legs were left out and why, as JSON."),
    ActionField(name="red", help="`verb: report`: which legs are red, as JSON."),
    ActionField(name="rerun", help="`verb: report`: which legs are worth another try, as JSON."),
    ActionField(name="issue_url", help="`verb: report`: the issue that was opened, updated or closed."),
)
