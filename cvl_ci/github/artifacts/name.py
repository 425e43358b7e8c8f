"""Names that the service, every file system and a second attempt accept: forbidden characters become a low line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from cvl_ci.result.matrix import source

_IN_NAMES = re.compile(r'["<>|*?:\\/\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_IN_PATHS = re.compile(r'["<>|*?:\\\x00-\x1f\x7f\ud800-\udfff]')
LONGEST = 150
LONGEST_STEM = 100
REPORT = "cvl-report"
"""The artifact of a report, unless the user names it."""
OWN_END = "run"


def artifact_stem(input_name: str, *, job: str, leg: Sequence[str], attempt: str) -> str:
    """Return the start of the names of a step's artifacts: the given name, else the job's, then the leg's values.

    `leg`: the values of this job's leg of the matrix; values that the name holds already are not repeated. A name that
    would pass for another kind of artifact gets an end of its own: a report trusts an artifact's name.
    """
    name = input_name.strip() or f"cvl-{job or 'job'}"
    name = f"{name}-{OWN_END}" if name == REPORT and not input_name.strip() else name
    legs = [value for value in leg if value and (not input_name.strip() or value not in name)]
    again = [f"attempt{attempt}"] if attempt not in {"", "1"} else []
    stem = _safe("-".join([name, *legs, *again]), longest=LONGEST_STEM)
    return f"{stem}-{OWN_END}" if source.is_reserved(stem) else stem


def artifact_name(name: str, *, again: int = 1) -> str:
    """Return the artifact's name. `again`: the number of this request for it.

    Names that differ only in replaced or cut characters stay different.
    """
    return "-".join([_safe(name, longest=LONGEST), *([str(again)] if again > 1 else [])])


def entry_name(path: str, *, used_names: set[str]) -> str:
    """Return a path inside the zip that is not in `used_names`, and add it."""
    safe_path = _IN_PATHS.sub("_", path)
    name, number = safe_path, 1
    while name in used_names:
        number += 1
        name = f"{safe_path}_{number}"
    used_names.add(name)
    return name


def _safe(text: str, *, longest: int) -> str:
    replaced = _IN_NAMES.sub("_", text).strip(" .") or "artifact"
    if replaced == text and len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{replaced[: longest - 9]}-{digest}"
