"""Write the shell text of a job that runs several times on one machine, in turn with another commit if asked.

Text only.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.trials import ALONE, BASE, Trial


def text(plan: RunPlan, trials: Sequence[Trial], *, command: Callable[[str, str], str]) -> list[str]:
    """Return the lines of all trials. `command`: returns one of the plan's commands, by its phase and its text."""
    lines = []
    for place, trial in enumerate(trials, 1):
        lines += _trial(plan, trial, title=f"cvl-ci: trial {place} of {len(trials)}: {trial.name}", command=command)
    return lines


def _trial(plan: RunPlan, trial: Trial, *, title: str, command: Callable[[str, str], str]) -> list[str]:
    other = plan.trials.base if trial.side == BASE else None
    setup = other.setup_commands if other else plan.work.setup_commands
    run = other.run_commands if other else plan.work.run_commands
    # Without a second side, setup ran once, before the first trial.
    setup = () if trial.side == ALONE else setup
    lines = [
        f'cvl_ci_copy {trial.name} "$cvl_ci_{"base" if other else "head"}"',
        *(command("setup", words) for words in setup),
        "cvl_ci_clock",
        *(command("running", words) for words in run),
        f"cvl_ci_told {trial.name}",
    ]
    if other is None:
        return [f"echo {shlex.quote(title)}", *lines]
    variables = {"CVL_CI_DIRECTORY": other.directory, **other.env}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return [
        'if [ ! -e "$cvl_ci_state/samples/no-base" ]; then',
        f"echo {shlex.quote(title)}",
        "(",
        "cvl_ci_end() { :; }",
        *exports,
        *lines,
        ") || cvl_ci_base_failed $?",
        "fi",
    ]
