"""The action's own inputs, read from its environment in groups, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cvl_ci.errors import InputProblem
from cvl_ci.inputs import action_variables
from cvl_ci.inputs.checkpoint_inputs import CheckpointInputs
from cvl_ci.inputs.reader import Spelling, read_group
from cvl_ci.inputs.step_inputs import PublicationInputs, ReapInputs, StepInputs, TrustInputs


@dataclass(frozen=True, kw_only=True)
class ActionInputs:
    """The groups of step_inputs.py, each as far as it could be read."""

    step: StepInputs = field(default_factory=StepInputs)
    reap: ReapInputs = field(default_factory=ReapInputs)
    publication: PublicationInputs = field(default_factory=PublicationInputs)
    checkpoints: tuple[str, ...] = ()
    """The files of the checkpoint artifact. They are an input of the run too, which tells their mistakes."""
    trust: TrustInputs = field(default_factory=TrustInputs)
    mistakes: tuple[InputProblem, ...] = ()

    @property
    def verb(self) -> str:
        return self.step.verb


def read(environment: Mapping[str, str]) -> ActionInputs:
    """Return the action's own inputs. Nothing wrong stops the reading, so that one message can name it all."""
    values = action_variables.values(environment)
    mistakes: list[InputProblem] = []
    step, reap, publication, trust = (
        read_group(StepInputs, values, spelling=Spelling.INPUT, mistakes=mistakes),
        read_group(ReapInputs, values, spelling=Spelling.INPUT, mistakes=mistakes),
        read_group(PublicationInputs, values, spelling=Spelling.INPUT, mistakes=mistakes),
        read_group(TrustInputs, values, spelling=Spelling.INPUT, mistakes=mistakes),
    )
    if any(mistake.field == "dry_run" for mistake in mistakes):
        reap = replace(reap, dry_run=True)  # an unreadable value must end no machine
    return ActionInputs(
        step=step,
        reap=reap,
        publication=publication,
        checkpoints=read_group(CheckpointInputs, values, spelling=Spelling.INPUT, mistakes=[]).checkpoints,
        trust=trust,
        mistakes=tuple(mistakes),
    )
