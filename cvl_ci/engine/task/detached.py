"""Write the shell text and the variable with which a node stores a detached run's results (machine/detached.py)."""

from __future__ import annotations

import json
from importlib import resources

from cvl_ci.model.plan import RunPlan
from cvl_ci.result.secret_names import secret_values

VARIABLE = "CVL_CI_DETACHED"
LAST = "cvl_ci_detached_last"
"""The command after which the results are stored after all else that a node does at its job's end."""
_END_OF_FILE = "CVL_CI_END_OF_DETACHED"
_MASKS = ("sanitize", "radix_tree", "encodings", "masks", "masked_lines")
"""The modules of cvl_ci/result/ that hide secrets. They find each other on the machine as here."""


def environment(plan: RunPlan, *, lease: str) -> dict[str, str]:
    """Return the variable that names the place of the results; none for a run that waits for its job."""
    place = plan.detach.of_run(lease)
    if place is None:
        return {}
    request = {"bucket": place.bucket, "prefix": place.prefix, "hides": bool(_secrets(plan))}
    return {VARIABLE: json.dumps({**request, **({"managed": True} if plan.detach.is_managed else {})})}


def before(plan: RunPlan) -> str:
    """Return the text that proves, before the commands, that this machine may store results; empty if attached."""
    if plan.detach.place is None:
        return ""
    folder = "$cvl_ci_state/detached"
    files = {"detached.py": _read("engine/machine/detached.py")}
    if _secrets(plan):
        files |= {"cvl_ci/__init__.py": "", "cvl_ci/result/__init__.py": ""}
        files |= {f"cvl_ci/result/{name}.py": _read(f"result/{name}.py") for name in _MASKS}
    stored = [_stored(f"{folder}/{name}", text) for name, text in files.items()]
    return "\n".join([f'mkdir -p "{folder}/cvl_ci/result"', *stored, _read("engine/machine/detached.sh")])


def during(plan: RunPlan, *, end: str, collect: str) -> str:
    """Return the text that starts the program, before the job. `end`, `collect`: the commands of script.py.

    The program gets the values of secrets through a pipe: every process can read a command line.
    """
    if plan.detach.place is None:
        return ""
    folder = "$cvl_ci_state/detached"
    printed = [f"printf '%s\\0' \"${{{name}:-}}\"" for name in _secrets(plan)]
    return "\n".join(
        [
            _stored(f"{folder}/end.sh", f"{end}\n"),
            _stored(f"{folder}/collect.sh", f"{collect}\n"),
            *(["cvl_ci_managed=1"] if plan.detach.is_managed else []),
            f"cvl_ci_detached_secrets() {{ {'; '.join(printed) or ':'}; }}",
            "cvl_ci_detached",
        ]
    )


def _secrets(plan: RunPlan) -> list[str]:
    """Return the names of the variables whose values an attached run hides: secrets, and those that look like one."""
    env = plan.variables.env
    return [*plan.variables.secrets, *(name for name in env if any(secret_values({name: env[name]})))]


def _stored(path: str, text: str) -> str:
    return f"cat > \"{path}\" << '{_END_OF_FILE}'\n{text}{_END_OF_FILE}"


def _read(path: str) -> str:
    return resources.files("cvl_ci").joinpath(*path.split("/")).read_text(encoding="utf-8")
