"""Check a service's answers against a schema in a process of its own: neither may need time or memory without end.

`python -m cvl_ci.local.answer_check` reads one JSON object from stdin, with `schema`, `memory` and `bodies` in base64.
It prints one JSON object: `mismatch` tells how the first body that differs does so, empty without one. It gets no
secret.
"""

from __future__ import annotations

import base64
import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence

from cvl_ci.planning import answer_schema

CHECK_SECONDS = 10.0
MEMORY_BYTES = 1 << 30
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""The variables that Python needs to start. None of them is a secret."""
_AS_ISOLATED = ("-I",) if sys.flags.isolated else ()


def mismatch(
    schema: Mapping[str, object],
    bodies: Sequence[bytes],
    *,
    environment: Mapping[str, str],
    seconds: float = CHECK_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> str:
    """Return how the first answer that differs from the schema does so, in one line; empty: all match.

    A check that takes longer than `seconds`, or more memory, counts as a difference.
    """
    texts = [base64.b64encode(body).decode() for body in bodies]
    request = {"schema": schema, "bodies": texts, "memory": memory_bytes}
    try:
        process = subprocess.run(
            [sys.executable, *_AS_ISOLATED, "-m", __name__],
            input=json.dumps(request).encode(),
            capture_output=True,
            env={"PYTHONUTF8": "1"} | {name: environment[name] for name in _PASSED_ON if name in environment},
            timeout=seconds,
            cwd="/",  # a module in the folder of a person could have the name of one of Python's own
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the answer could not be checked within {seconds:.3g} s"
    if process.returncode != 0:
        return f"the answer could not be checked (status {process.returncode})"
    try:
        return str(json.loads(process.stdout)["mismatch"])
    except (ValueError, KeyError, TypeError):  # without an answer the check did not pass
        return "the answer could not be checked (the check gave no result)"


def main() -> None:
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    bodies = (base64.b64decode(body) for body in request["bodies"])
    problem = next(filter(None, (answer_schema.mismatch(request["schema"], body) for body in bodies)), "")
    sys.stdout.write(json.dumps({"mismatch": problem}))


if __name__ == "__main__":
    main()
