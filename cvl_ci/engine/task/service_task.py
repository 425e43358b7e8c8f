"""Check the task of a deployment against SkyPilot's own schema, before anything is started."""

from __future__ import annotations

from collections.abc import Sequence

from cvl_ci.engine.task import task
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.model.offer import Offer
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning import safe_yaml, task_grammar


def checked(plan: RunPlan, *, offers: Sequence[Offer] = ()) -> str:
    """Return the task as YAML. Raise RequestError if SkyPilot would not read it (planning/task_grammar)."""
    text = task.render(plan, offers=offers)
    wrong = task_grammar.mistakes(safe_yaml.load_mapping(text.encode()))
    if wrong:
        name = plan.work.example or plan.title
        raise RequestError([InputProblem(field="example", value=name, problem=problem) for problem in wrong.values()])
    return text
