"""The shell text and variables with which a node uses the model cache (machine/models.sh, machine/models.py)."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

from cvl_ci.model.plan import RunPlan

VARIABLE = "CVL_CI_MODELS"
STORE_SECONDS = 1800
"""The longest time in which a node stores new models after its job: the machine is billed meanwhile."""
MOST_DIGESTED = 1 << 30
"""With more bytes of files than this, a run is not compared with the last one."""
_ON_FIRST_NODE = '[ "$cvl_ci_rank" != 0 ] || cvl_ci_last+=(cvl_ci_models_store)'
_PACKAGE = "cvl_ci/engine/machine"
"""The files keep their place below a folder, so that they find each other there as here."""
_FILES = ("model_bucket.py", "models_restore.py", "models_store.py")
_END_OF_FILE = "CVL_CI_END_OF_MODELS"


def environment(plan: RunPlan, *, staged: Path) -> dict[str, str]:
    """Return the variable that tells a node the bucket, the models and the work; none without a model cache."""
    cache = plan.models.cache
    if cache is None:
        return {}
    request = {
        "bucket": cache.bucket,
        "prefix": cache.prefix,
        "names": [[one.repo, one.revision] for one in plan.models.names],
        "work": _digest([plan.title, plan.work.directory]),
        "exact": _exact(plan, staged),
    }
    return {VARIABLE: json.dumps(request)}


def before(plan: RunPlan) -> str:
    """Return the text that brings the models before the commands; empty without a model cache."""
    if plan.models.cache is None:
        return ""
    folder = f"$cvl_ci_state/{_PACKAGE}"
    packages = 'for part in cvl_ci cvl_ci/engine cvl_ci/engine/machine; do : > "$cvl_ci_state/$part/__init__.py"; done'
    files = [f"cat > \"{folder}/{name}\" << '{_END_OF_FILE}'\n{_read(name)}{_END_OF_FILE}" for name in _FILES]
    return "\n".join([f'mkdir -p "{folder}"', packages, *files, _read("models.sh")])


def after(plan: RunPlan) -> str:
    """Return the text that stores new models when the job has ended, in any way: on the first node only."""
    if plan.models.cache is None:
        return ""
    return f"cvl_ci_models_store() {{ cvl_ci_models store {STORE_SECONDS}; }}\n{_ON_FIRST_NODE}"


def _exact(plan: RunPlan, staged: Path) -> str:
    """Return a digest of everything that decides which models the work uses; empty where that is too much."""
    work, digest, length = plan.work, hashlib.sha256(), 0
    for path in sorted(path for path in staged.rglob("*") if path.is_file() and ".git" not in path.parts):
        length += path.stat().st_size
        if length > MOST_DIGESTED:
            return ""
        with path.open("rb") as file:
            content = hashlib.sha256()
            while piece := file.read(1 << 20):
                content.update(piece)
        digest.update(f"{content.hexdigest()} {path.relative_to(staged).as_posix()}\n".encode())
    env = sorted(plan.variables.env.items())
    return _digest([work.setup_commands, work.run_commands, work.image, env, digest.hexdigest()])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:40]


def _read(name: str) -> str:
    return resources.files("cvl_ci.engine").joinpath("machine").joinpath(name).read_text(encoding="utf-8")
