"""What the action is asked with `verb: matrix`, `report` and `history` alone: a table beside that of action_fields.py.

Read as verb_fields.py reads the options of the same names. Where a folder would be named in a terminal, the workflow's
own artifacts are taken.
"""

from __future__ import annotations

from cvl_ci.inputs.action_fields import ActionField

MATRIX_INPUTS = (
    ActionField(name="examples", help="The examples: paths, names or patterns. One a line. If not given: all."),
    ActionField(
        name="presets",
        help="Their presets: names or patterns. If not given: `train` and `predict`, or the only one.",
    ),
    ActionField(
        name="clouds", help="Each of these makes a leg: cloud[/region[/zone]]. If not given: any, which makes one."
    ),
    ActionField(
        name="gpus", help="Each of these makes a leg. Such as `L4:1,A10G:1`. If not given: the example's own need."
    ),
    ActionField(
        name="changed_since",
        help="Only examples with a changed file since the checkout left this commit or branch. The files that go to "
        "the machine count.",
    ),
    ActionField(
        name="budget",
        help="The most that all legs together may cost, in US dollars. The report names the legs beyond it.",
    ),
    ActionField(name="shard", help="Only this part of the legs, such as `1/3`: GitHub takes at most 256 in a matrix."),
    ActionField(
        name="on_dropped",
        help="Whether a leg that cannot run makes it red: no price, over a budget, or a mistake. `warn` or `fail`; the "
        "outputs are set in both cases. If not given: warn.",
    ),
)

REPORT_INPUTS = (
    ActionField(
        name="folders",
        help="The folders with the legs' `<lease>.json` files. If not given: the artifacts of this workflow run.",
    ),
    ActionField(
        name="history",
        help="The place of earlier runs. `artifacts`: this workflow on the base branch, for as long as the "
        "repository keeps them. `branch`: a branch, which `verb: history` writes. `none`: nowhere.",
        default="artifacts",
    ),
    ActionField(name="branch", help="With `history: branch`, its name. If not given: cvl-ci-history."),
    ActionField(name="remote", help="The remote that has the branch. If not given: origin."),
    ActionField(
        name="baseline_workflow",
        help="The file name of another workflow whose runs are the baseline, such as `nightly-benchmark.yml`.",
    ),
    ActionField(
        name="base",
        help="The commit or branch to compare with, or its nearest ancestor with runs. If not given: the "
        "pull request's base, else the commit before.",
    ),
    ActionField(
        name="rules",
        help="The file with directions and tolerances of metrics. If not given: cvl-ci.yml, if it exists.",
    ),
    ActionField(
        name="infra_failures",
        help="Whether infrastructure failures make the report red: `neutral` or `fail`. They are legs "
        "without a machine, quota or credentials, and legs that lost their machine. If not given: "
        "neutral.",
    ),
    ActionField(name="nights", help="How many earlier runs a trend shows. If not given: 14."),
    ActionField(name="into", help="The folder for the report's files. If not given: cvl-report."),
    ActionField(
        name="expected",
        help="The output `expected` of `verb: matrix`. A leg without a summary makes the report red. So does a dropped "
        "leg, when on_dropped is `fail`.",
    ),
    ActionField(
        name="issue",
        help="`true`: open an issue when a leg got worse or failed, and close it when all such legs are fine "
        "again. Not on pull requests. It needs `issues: write`.",
    ),
)

MANY_INPUTS = (*MATRIX_INPUTS, *REPORT_INPUTS)

TAKES = {
    "matrix": frozenset(one.name for one in MATRIX_INPUTS),
    "report": frozenset(one.name for one in REPORT_INPUTS),
    "history": frozenset({"folders", "branch", "remote", "into"}),
}

MANY_OUTPUTS = (
    ActionField(name="matrix", help="`verb: matrix`: JSON, from which `fromJSON` makes `strategy.matrix`."),
    ActionField(
        name="expected",
        help="`verb: matrix`: JSON for the input of the same name: the legs, and the dropped ones with reasons.",
    ),
    ActionField(
        name="legs",
        help="`verb: matrix`, `report` and `history`: the number of legs. With 0, skip the job of the legs, "
        "and never the report.",
    ),
    ActionField(name="dropped", help="`verb: matrix`: the dropped legs with reasons, as JSON."),
    ActionField(name="red", help="`verb: report`: the red legs, as JSON."),
    ActionField(name="rerun", help="`verb: report`: the legs that are worth another try, as JSON."),
    ActionField(name="issue_url", help="`verb: report`: the issue that the report opened, updated or closed."),
)
