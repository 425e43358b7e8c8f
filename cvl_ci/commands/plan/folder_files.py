"""Find the files that a run sends from the folder of a command or task, and the warnings for any run."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.patterns import TooMany
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.plan import FilePlan
from cvl_ci.model.staged_files import CommitCopy, StagedFile
from cvl_ci.planning.credential_files import holds_credentials
from cvl_ci.planning.folder_files import EXPECTED_REASONS, FolderRule
from cvl_ci.ports import Checkout, CheckoutFile

LARGEST_STAGE_BYTES = 2 * 1024**3
_LARGEST_SKYIGNORE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Sent:
    """The files of one folder that go to the machine, and the warnings about those that go or stay."""

    plan: FilePlan = field(default_factory=FilePlan)
    warnings: tuple[str, ...] = ()


def folder_files(words: str, inputs: Inputs, checkout: Checkout) -> Sent:
    """Return all files of a folder but those that a rule leaves out, at their paths below it. Raise Wrong."""
    path = checkout.locate(words)
    if path is None:
        raise Wrong("is outside the repository")
    if not (checkout.root / path).is_dir():
        raise Wrong("is not a folder")
    if ".git" in (checkout.root / path).resolve().parts:
        raise Wrong("is inside .git, whose configuration may hold a token")
    try:
        rule = FolderRule(
            include=inputs.work.include, exclude=inputs.work.exclude, skyignore=_skyignore(path, checkout)
        )
    except TooMany:
        raise Wrong("has a .skyignore whose braces stand for too many patterns") from None
    folder = checkout.folder(path, rule)
    entries = [replace(entry, path=below(entry.path, path)) for entry in folder.entries]
    if sum(entry.bytes for entry in entries) > LARGEST_STAGE_BYTES:
        raise Wrong("holds more than 2 GiB: leave files out with exclude, and bring large data by a bucket")
    tracked = [entry for entry in folder.entries if entry.path in folder.tracked]
    expected = {below(name, path): why for name, why in folder.reasons.items() if why in EXPECTED_REASONS}
    unexpected = {name: why for name, why in folder.reasons.items() if why not in EXPECTED_REASONS}
    return Sent(
        plan=FilePlan(staged=staged(entries), commits=commit_copy(checkout, path), not_sent=_in_one_line(expected)),
        warnings=(*warnings_of(unexpected), *warnings_of_credentials(tracked, checkout)),
    )


def commit_copy(checkout: Checkout, folder: str) -> tuple[CommitCopy, ...]:
    """Return the repository that goes along with a folder of a checkout; none where git knows no commit."""
    commit = checkout.head
    return (CommitCopy(path=".", root=str(checkout.root), commit=commit, folder=folder),) if commit else ()


def staged(entries: Iterable[CheckoutFile]) -> tuple[StagedFile, ...]:
    """Return the files of a checkout as they are staged, by path."""
    files = [StagedFile(path=entry.path, source=entry.source, bytes=entry.bytes) for entry in entries]
    return tuple(sorted(files, key=lambda file: file.path))


def warnings_of(reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each reason why files stay. `reasons`: path → why."""
    return tuple(f"Not sent to the machine: {_few(paths)} ({reason})." for reason, paths in _by_reason(reasons).items())


def warnings_of_credentials(entries: Iterable[CheckoutFile], checkout: Checkout) -> tuple[str, ...]:
    """Return a warning of files that go along and may hold credentials: git tracks them, so the job may need them."""
    names = [
        entry.path
        for entry in entries
        if holds_credentials(entry.path, lambda limit, path=entry.path: checkout.read(path, limit=limit))  # type: ignore[misc]
    ]
    return (f"Sent to the machine, and may hold credentials: {_few(names)} (git tracks it).",) if names else ()


def below(path: str, folder: str) -> str:
    """Return a path of the checkout as it is seen from a folder of it."""
    if folder == "." or path.startswith(f"{folder}/"):
        return path if folder == "." else path[len(folder) + 1 :]
    return os.path.relpath(path, folder).replace(os.sep, "/")


def _skyignore(path: str, checkout: Checkout) -> str:
    try:
        name = ".skyignore" if path == "." else f"{path}/.skyignore"
        return checkout.read(name, limit=_LARGEST_SKYIGNORE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _in_one_line(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    parts = [f"{_few(paths)} ({reason})" for reason, paths in _by_reason(reasons).items()]
    return f"{'; '.join(parts)}. Change it with include and exclude."


def _by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    by_reason: dict[str, list[str]] = {}
    for path, reason in reasons.items():
        by_reason.setdefault(reason, []).append(path)
    return by_reason


def _few(paths: Sequence[str]) -> str:
    return f"{', '.join(paths[:5])}{f' and {len(paths) - 5} more' if len(paths) > 5 else ''}"
