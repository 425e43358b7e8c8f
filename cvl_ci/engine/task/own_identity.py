"""Write the shell text with which cvl-ci's own programs on a machine keep the machine's identity and endpoint."""

from __future__ import annotations

import shlex

from cvl_ci.model.plan import RunPlan

_PREFIXES = ("AWS_", "BOTO_")
_KEPT = frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"})
"""A region changes neither whose rights a request has, nor who answers it."""


def text(plan: RunPlan) -> str:
    """Return the text that sets `cvl_ci_own`, the beginning of the command of each of our programs that uses a bucket.

    It removes the plan's own variables alone: the machine may have others, from its image or its cloud.
    """
    names = sorted({*plan.variables.env, *plan.variables.secrets})
    removed = [name for name in names if name.upper().startswith(_PREFIXES) and name not in _KEPT]
    return f"cvl_ci_own=({shlex.join(['env', *(word for name in removed for word in ('-u', name))])})"
