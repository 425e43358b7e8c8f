"""The action's inputs as a process finds them in its environment: this file alone knows how GitHub's runner names them.

The runner gives the input `max_cost` as the variable INPUT_MAX_COST (actions/runner, src/Runner.Worker/Handlers).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

_PREFIX = "INPUT_"


@cache
def names() -> frozenset[str]:
    """Return the name of every input of the action."""
    # A post with nothing to do reads `leg` alone, and does not pay for the table.
    from cvl_ci.inputs.credential_inputs import CREDENTIAL_INPUTS  # noqa: PLC0415
    from cvl_ci.inputs.table import action_options  # noqa: PLC0415

    return frozenset(
        [option.name for option in action_options()] + [credential.name for credential in CREDENTIAL_INPUTS]
    )


def variable(name: str) -> str:
    """Return the variable that holds the input `name`. Raises KeyError where the action has no such input."""
    if name not in names():
        raise KeyError(name)
    return _PREFIX + name.upper()


def is_input(name: str) -> bool:
    """Return whether the variable holds an input, an unknown one included."""
    return name.startswith(_PREFIX)


def leg(environment: Mapping[str, str]) -> str:
    """Return the input `leg` as text, without a look at the table."""
    return environment.get(f"{_PREFIX}LEG", "").strip()


def value(environment: Mapping[str, str], name: str) -> str:
    """Return the input as text, without blanks around it; empty where a workflow does not give it."""
    return environment.get(variable(name), "").strip() or values(environment).get(name, "").strip()


def values(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every input by its own name, unknown names included: `max-cost` is `max_cost`."""
    from cvl_ci.inputs.option import by_own_name  # noqa: PLC0415
    from cvl_ci.inputs.table import action_options  # noqa: PLC0415

    texts = {
        key.removeprefix(_PREFIX).lower().replace("-", "_").replace(" ", "_"): text
        for key, text in environment.items()
        if key.startswith(_PREFIX)
    }
    return by_own_name(texts, action_options())
