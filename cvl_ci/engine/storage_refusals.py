"""Tell from SkyPilot's failure that the storage of a mount failed, and name it in one sentence. Values, no SDK.

A refusal of a bucket says nothing of the cloud's credentials for machines, and nothing of the job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cvl_ci.engine.process import WorkerFailed
from cvl_ci.errors import CredentialsError, CvlError, StorageError
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.storage_rules import file_mounts

MONEY = "cvl-ci takes down all that it had started."
RIGHTS = "docs/storage.md has the least rights of the runner and of the machines' role."
_OF_RUNNER = re.compile(
    r"\((?P<code>[\w.]+)\) when calling the (?P<operation>(?:List|Head|Get|Put|Copy|Delete|Create|Upload|Complete)"
    r"(?:Object|Bucket|Multipart|Part)\w*) operation"
)
"""botocore's own sentence about a refusal of S3: botocore/exceptions.py, ClientError."""
_OF_MACHINE = re.compile(r"Failed to run command before rsync (?P<source>\S+?://\S+) -> (?P<target>/\S+?)\.?\s")
"""SkyPilot's own sentence about a copy that failed on a machine: sky/backends/backend_utils.py:1966."""
_OF_MOUNTING = re.compile(r"Command to mount failed|could not be mounted on cluster|Mount path .* is non-empty")
"""sky/backends/cloud_vm_ray_backend.py:6866-6940."""
_DENIED = re.compile(r"AccessDenied|Forbidden|\b403\b|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken")
_MISSING = re.compile(r"NoSuchBucket|NoSuchKey|does not exist|could not be mounted")
_TRANSFER = re.compile(r"(?:fatal error|download failed|An error occurred|Could not connect)[^\n]{0,300}")


def of_mounts(failure: WorkerFailed, plan: RunPlan) -> CvlError | None:
    """Return the error of a mount's storage; None for a failure of another kind, or a plan without remote storage."""
    sources = _sources(plan)
    text = "\n".join((failure.text, *failure.causes))
    if not sources:
        return None
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text) + "\n"
    if copied := _OF_MACHINE.search(plain):
        why = _TRANSFER.search(plain)
        what = f"The machine could not copy {copied['source']} to {copied['target']}"
        return _error(what, why[0].strip() if why else "its copy ended early", why[0] if why else plain)
    if refused := _OF_RUNNER.search(text):
        return _error(f"S3 answered {refused['operation']} with {refused['code']}", _among(sources), refused["code"])
    if mounting := _OF_MOUNTING.search(plain):
        return _error("The machine could not mount its storage", _among(sources), plain[mounting.start() :][:1000])
    return None


def _error(what: str, about: str, answer: str) -> CvlError:
    sentence = f"{what}: {about}."
    if _DENIED.search(answer):
        return CredentialsError(sentence, money=MONEY, next_step=f"The bucket refuses these credentials. {RIGHTS}")
    if _MISSING.search(answer):
        return StorageError(sentence, money=MONEY, next_step="Look at the name of the bucket and of the prefix.")
    return StorageError(
        sentence,
        money=MONEY,
        next_step="The job did not cause this. Run it again. If it fails again, look at the bucket.",
    )


def _sources(plan: RunPlan) -> list[str]:
    """Return the mounts with remote storage, as `PATH=SOURCE`."""
    own = [
        f"{target}={entry.get('source') or entry.get('name') if isinstance(entry, Mapping) else entry}"
        for target, entry in file_mounts(plan).items()
        if isinstance(entry, Mapping) or "://" in str(entry)
    ]
    return [
        *own,
        *(
            f"{one.target}={one.source}"
            for one in plan.files.mounts
            if one.needs_bucket or not (one.is_local or one.volume)
        ),
    ]


def _among(sources: list[str]) -> str:
    return f"the mounts are {', '.join(sources[:5])}" if len(sources) > 1 else f"the mount is {sources[0]}"
