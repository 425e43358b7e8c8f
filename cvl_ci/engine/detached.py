"""Write the shell text and the variable with which a node stores a detached run's results (machine/detached.py)."""

from __future__ import annotations

import json
from importlib import resources

from cvl_ci.model.plan import RunPlan

VARIABLE = "CVL_CI_DETACHED"
_END_OF_FILE = "CVL_CI_END_OF_DETACHED"


def environment(plan: RunPlan, *, lease: str) -> dict[str, str]:
    """Return the variable that names the place of the results; none for a run that waits for its job."""
    place = plan.detach.of_run(lease)
    return {} if place is None else {VARIABLE: json.dumps({"bucket": place.bucket, "prefix": place.prefix})}


def before(plan: RunPlan, *, end: str, collect: str) -> str:
    """Return the text that starts the program, before the job. `end`, `collect`: the commands of script.py.

    Setup may fail before the job begins, and its run is then still attached.
    """
    if plan.detach.place is None:
        return ""
    files = {"detached.py": _read("detached.py"), "end.sh": f"{end}\n", "collect.sh": f"{collect}\n"}
    stored = [
        f"cat > \"$cvl_ci_state/detached/{name}\" << '{_END_OF_FILE}'\n{text}{_END_OF_FILE}"
        for name, text in files.items()
    ]
    return "\n".join([_read("detached.sh"), *stored, "cvl_ci_detached"])


def _read(name: str) -> str:
    return resources.files("cvl_ci.engine").joinpath("machine").joinpath(name).read_text(encoding="utf-8")
