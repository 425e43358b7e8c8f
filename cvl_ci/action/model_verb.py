"""The verb `models` as a step of a workflow. It launches nothing, so post has only credentials to remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.action.step import Step
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs import matrix_reader


def carry_out(step: Step, environ: Mapping[str, str], mistakes: Sequence[InputProblem]) -> int:
    """Return the exit code. `mistakes`: those in the inputs of the other verbs. Raises CvlError."""
    from cvl_ci.wiring import models as wired_models

    values, problems = matrix_reader.read(environ, "models")
    fields = {problem.field for problem in problems}
    if mistakes or problems:
        raise RequestError([*(one for one in mistakes if one.field not in fields), *problems])
    step.state.update(done=True)
    environ = wiring.credentials(environ, ["aws"], mask=step.reporter.mask)
    show = step.reporter.show
    return wired_models.models(
        values, wired_models.ModelsCaller(folder=Path.cwd(), environ=environ, say=show, tell=show)
    )
