"""The results of `cvl-ci models` for a person. Lines only; the entry points print them."""

from __future__ import annotations

from cvl_ci.commands.models.listing import Stored, StoredModel, VerifiedModel
from cvl_ci.commands.models.upload import UploadedModel
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.storage import monthly_usd
from cvl_ci.result.units import dollars, size


def uploaded(result: UploadedModel) -> list[str]:
    manifest = result.manifest
    moved = f"{size(result.moved_bytes)} moved" if result.moved_files else "0 bytes moved: the bucket had them all"
    extent = "the whole model" if manifest.has_all else f"{len(manifest.files)} files of it"
    return [
        f"{manifest.repo} at {manifest.commit[:12]}: {extent}, {size(manifest.bytes)}, {moved}.",
        f"It is at {result.location} and costs {_monthly(manifest.bytes)}.",
    ]


def lines_of_list(stored: Stored, address: BucketAddress) -> list[str]:
    lines = [_line(model) for model in stored.models]
    if stored.unfinished_uploads:
        lines.append(
            f"{stored.unfinished_uploads} unfinished uploads with {size(stored.unfinished_bytes)}: "
            "the next upload of the model continues them."
        )
    return [*lines, f"{address}: {size(stored.bytes)}, {_monthly(stored.bytes)}."]


def verified(result: VerifiedModel) -> list[str]:
    name = f"{result.repo} at {result.commit[:12]}"
    if not result.problems:
        hub = f"The hub did not confirm the manifest: {result.not_asked}" if result.not_asked else ""
        confirmed = "" if hub else ", and the manifest is as the hub says"
        line = f"{name}: all {result.files} files, {size(result.bytes)}, are as the manifest says{confirmed}."
        return [line, *([hub] if hub else [])]
    return [
        f"{name}: {len(result.problems)} of {result.files} files are wrong.",
        *(f"  {one}" for one in result.problems),
    ]


def removed(repo: str, count: int, address: BucketAddress) -> list[str]:
    return [f"{repo} is no longer in {address}: {size(count)} are gone, which cost {_monthly(count)}."]


def _line(model: StoredModel) -> str:
    names = f" ({', '.join(model.refs)})" if model.refs else ""
    if model.manifest is None:
        state = "not readable: its upload has not ended"
    else:
        extent = "whole" if model.manifest.has_all else "in part"
        state = f"{len(model.manifest.files)} files, {extent}, since {model.manifest.uploaded_at}"
    return f"{model.repo}@{model.commit[:12]}{names}: {size(model.bytes)}, {_monthly(model.bytes)}, {state}"


def _monthly(count: int) -> str:
    return f"about {dollars(monthly_usd(count))} a month"
