"""The one table of inputs: every option of every group, and the views that entry points and pages take of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cvl_ci.inputs.deploy_inputs import DEPLOY_GROUPS
from cvl_ci.inputs.drill_inputs import DRILL_GROUPS, one_place
from cvl_ci.inputs.matrix_inputs import MATRIX_GROUPS
from cvl_ci.inputs.model_inputs import MODEL_GROUPS
from cvl_ci.inputs.option import EntryPoint, InputOption, options_of
from cvl_ci.inputs.price_inputs import PRICE_GROUPS
from cvl_ci.inputs.queue_inputs import QUEUE_GROUPS
from cvl_ci.inputs.rollout_inputs import ROLLOUT_GROUPS
from cvl_ci.inputs.run_inputs import RUN_GROUPS
from cvl_ci.inputs.step_inputs import STEP_GROUPS
from cvl_ci.inputs.terminal_inputs import TERMINAL_GROUPS

RUN_OPTIONS = options_of(*RUN_GROUPS)
STEP_OPTIONS = options_of(*STEP_GROUPS)
MATRIX_OPTIONS = options_of(*MATRIX_GROUPS)
DRILL_OPTIONS = options_of(*DRILL_GROUPS)
PRICE_OPTIONS = options_of(*PRICE_GROUPS)
MODEL_OPTIONS = options_of(*MODEL_GROUPS)
QUEUE_OPTIONS = options_of(*QUEUE_GROUPS)
DEPLOY_OPTIONS = options_of(*DEPLOY_GROUPS, *ROLLOUT_GROUPS)
TERMINAL_OPTIONS = options_of(*TERMINAL_GROUPS)
OPTIONS = (
    *RUN_OPTIONS,
    *STEP_OPTIONS,
    *MATRIX_OPTIONS,
    *DRILL_OPTIONS,
    *PRICE_OPTIONS,
    *MODEL_OPTIONS,
    *QUEUE_OPTIONS,
    *DEPLOY_OPTIONS,
    *TERMINAL_OPTIONS,
)

BY_NAME: Mapping[str, InputOption] = {option.name: option for option in OPTIONS}
RUN_BY_NAME: Mapping[str, InputOption] = {option.name: option for option in RUN_OPTIONS}

_DRILL_CLOUD = replace(
    BY_NAME["cloud"], read=one_place, help="Your own account, or the sandbox.", example="sandbox", default=""
)
"""A drill has exactly one place."""

_PRICES_OF_RUN = (
    replace(BY_NAME["cloud"], help="Only these clouds: cloud[/region[/zone]].", default="all"),
    replace(
        BY_NAME["spot"],
        help="`true`: spot machines only. `false`: on-demand machines only.",
        default="both",
    ),
)
"""Inputs of a run that narrow the table of prices."""

_COST_OF_HISTORY = (
    replace(
        BY_NAME["folders"],
        help="The folders with the runs' summaries, instead of the branch of the verb `history`.",
        default="",
    ),
    replace(BY_NAME["branch"], help="The branch that the verb `history` writes."),
    BY_NAME["remote"],
)
"""Inputs of the verb `history` that name the runs to sum."""

_VIEWS: Mapping[str, tuple[InputOption, ...]] = {
    "status": (
        replace(
            BY_NAME["cloud"],
            help="Ask these providers too: aws, sandbox; any: all with credentials.",
            example="",
            default="",
        ),
    ),
    "down": (
        replace(
            BY_NAME["all"],
            help="Every lease of this computer, and every machine with our labels that the cloud shows.",
            example="",
            default="",
        ),
        replace(
            BY_NAME["cloud"],
            help="A cloud to ask, in addition to this computer's records: aws, sandbox.",
            example="",
            default="",
        ),
    ),
    "reap": (replace(BY_NAME["cloud"], help="The clouds to ask.", example="", default="every cloud with credentials"),),
    "deploy": (replace(BY_NAME["dry_run"], help="Show port, probe, machine and price; start nothing."),),
    "queue": (replace(BY_NAME["outputs_dir"], help="The folder for files and record.", default="cvl-outputs/queue"),),
    "collect": (replace(BY_NAME["outputs_dir"], help="The folder for files and summaries.", default="cvl-outputs"),),
}
"""Inputs of other verbs that a verb takes in its own words."""


def verb_options(verb: str, entry_point: EntryPoint = EntryPoint.CLI) -> tuple[InputOption, ...]:
    """Return what a verb takes at an entry point, its own options first."""
    of_verbs = (*DEPLOY_OPTIONS, *QUEUE_OPTIONS, *MATRIX_OPTIONS, *DRILL_OPTIONS, *PRICE_OPTIONS, *MODEL_OPTIONS)
    own = (*of_verbs, *STEP_OPTIONS, *RUN_OPTIONS)
    options = tuple(option for option in own if option.is_taken_by(verb, entry_point))
    if verb == "prices":
        return (*options, *_PRICES_OF_RUN)
    if verb == "cost":
        return (*options, *_COST_OF_HISTORY)
    return (_DRILL_CLOUD, *options) if verb == "drill" else options


def terminal_options(verb: str) -> tuple[InputOption, ...]:
    """Return what a verb takes on a command line beyond verb_options: the form of its answer, and its views."""
    views = _VIEWS.get(verb, ())
    names = {view.name for view in views}
    own = (option for option in TERMINAL_OPTIONS if option.is_taken_by(verb, EntryPoint.CLI))
    return (*views, *(option for option in own if option.name not in names))


def run_options(entry_point: EntryPoint) -> tuple[InputOption, ...]:
    """Return the inputs of a run at an entry point."""
    return tuple(option for option in RUN_OPTIONS if entry_point in option.entry_points)


def action_options() -> tuple[InputOption, ...]:
    """Return every input of the action except its credentials, in the order of action.yml."""
    return tuple(option for option in OPTIONS if EntryPoint.ACTION in option.entry_points)
