"""List, verify and remove the models below a prefix. Unfinished uploads and files without a manifest count too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cvl_ci.commands.models.content import Content
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.errors import CvlError, InputProblem, RequestError, StorageError
from cvl_ci.inputs.suggest import nearly_same
from cvl_ci.model.snapshot import COMMIT, Manifest, ModelFile, repo_of
from cvl_ci.ports.models import ModelSource, SourceHiccup


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model at one commit. `manifest`: None where an upload has not ended. `bytes`: of all its objects."""

    repo: str
    commit: str
    manifest: Manifest | None
    bytes: int
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Everything below a prefix. `unfinished_bytes`: of the parts of unfinished uploads."""

    models: tuple[StoredModel, ...] = ()
    unfinished_uploads: int = 0
    unfinished_bytes: int = 0

    @property
    def bytes(self) -> int:
        return sum(model.bytes for model in self.models) + self.unfinished_bytes


@dataclass(frozen=True, kw_only=True)
class VerifiedModel:
    """The result of reading all files of a model back. `problems`: one sentence for each wrong file.

    `not_asked`: why the hub did not confirm the manifest; empty if it did.
    """

    repo: str
    commit: str
    files: int
    bytes: int
    problems: tuple[str, ...] = ()
    not_asked: str = ""


@dataclass
class _SnapshotObjects:
    bytes: int = 0
    has_manifest: bool = False
    refs: list[str] = field(default_factory=list)


def stored_models(model_store: ModelStore) -> Stored:
    """Return everything below the prefix. Raises StorageError when the bucket gives no valid answer."""
    snapshots: dict[tuple[str, str], _SnapshotObjects] = {}
    refs: list[tuple[str, str]] = []
    for stored in model_store.store.objects(model_store.prefix()):
        parts = stored.key.removeprefix(model_store.prefix()).split("/")
        repo = repo_of(parts[0])
        if not repo or len(parts) < 3:
            continue
        commit = parts[2].removesuffix(".json") if parts[1] == "manifests" else parts[2]
        if parts[1] == "refs":
            refs.append((repo, "/".join(parts[2:])))
        elif parts[1] in {"snapshots", "manifests"} and COMMIT.fullmatch(commit):
            one = snapshots.setdefault((repo, commit), _SnapshotObjects())
            one.has_manifest = one.has_manifest or parts[1] == "manifests"
            one.bytes += stored.size
    for repo, name in refs:
        if at := snapshots.get((repo, model_store.ref(repo, name))):
            at.refs.append(name)
    uploads = list(model_store.store.uploads(model_store.prefix()))
    return Stored(
        models=tuple(
            StoredModel(
                repo=repo,
                commit=commit,
                manifest=model_store.manifest(repo, commit) if one.has_manifest else None,
                bytes=one.bytes,
                refs=tuple(one.refs),
            )
            for (repo, commit), one in sorted(snapshots.items())
        ),
        unfinished_uploads=len(uploads),
        unfinished_bytes=sum(part.size for upload in uploads for part in model_store.store.parts(upload)),
    )


def verify(model_store: ModelStore, repo: str, revision: str, *, hub: ModelSource | None = None) -> VerifiedModel:
    """Read every file of a model back and compare it with the manifest, and the manifest with the hub's own metadata.

    A writer of the bucket can replace files and manifest together, and only the hub shows that. Raises
    RequestError for an unknown model.
    """
    manifest = model_store.find(repo, revision)
    if manifest is None:
        raise unknown_model(model_store, repo, revision)
    of_hub, not_asked = _of_hub(manifest, hub)
    return VerifiedModel(
        repo=repo,
        commit=manifest.commit,
        files=len(manifest.files),
        bytes=manifest.bytes,
        problems=tuple(_problems(model_store, manifest, of_hub)),
        not_asked=not_asked,
    )


def _of_hub(manifest: Manifest, hub: ModelSource | None) -> tuple[dict[str, ModelFile], str]:
    """Return the files as the hub announces them, by path, and why the hub did not tell."""
    if hub is None or not manifest.of_hub:
        return {}, "it came from a folder."
    try:
        snapshot = hub.snapshot(manifest.repo, manifest.commit)
    except (CvlError, SourceHiccup) as error:
        return {}, error.what if isinstance(error, CvlError) else f"{error}."
    return {file.path: file for file in snapshot.files}, ""


def _problems(model_store: ModelStore, manifest: Manifest, of_hub: Mapping[str, ModelFile]) -> Iterator[str]:
    prefix = model_store.prefix(manifest.repo, "snapshots", manifest.commit)
    sizes = {one.key.removeprefix(prefix): one.size for one in model_store.store.objects(prefix)}
    for path, file in manifest.files.items():
        announced = of_hub.get(path, file)
        if of_hub and path not in of_hub:
            yield f"{path} is not a file of the hub's commit"
        elif path not in sizes:
            yield f"{path} is missing"
        elif sizes[path] != file.size:
            yield f"{path} has {sizes[path]} bytes instead of {file.size}"
        else:
            with model_store.store.stream(prefix + path) as pieces:
                content = Content(file).add_all(pieces)
            if not content.is_right:
                yield f"{path} has the SHA-256 {content.sha256[:16]}… instead of {file.sha256[:16]}…"
            elif (file.size, file.blob) != (announced.size, announced.blob) or not content.is_also(announced):
                yield f"{path} has other bytes than the hub announces, and the manifest too: somebody replaced both"


def remove(model_store: ModelStore, repo: str, revision: str) -> int:
    """Remove a model, all its commits without a revision, and return the bytes.

    The manifests go first, so that no reader sees half a model. Raises StorageError if an object remains.
    """
    commit = revision if COMMIT.fullmatch(revision) else model_store.ref(repo, revision) if revision else ""
    if revision and not commit:
        raise unknown_model(model_store, repo, revision)
    keys = _keys_of(model_store, repo, commit)
    uploads = [
        one for one in model_store.store.uploads(model_store.prefix(repo)) if not commit or f"/{commit}/" in one.key
    ]
    if not keys and not uploads:
        raise unknown_model(model_store, repo, revision)
    model_store.store.delete(
        [
            key
            for key in keys
            if key.startswith((model_store.prefix(repo, "manifests"), model_store.prefix(repo, "refs")))
        ]
    )
    model_store.store.delete(keys)
    for upload in uploads:
        model_store.store.abort(upload)
    if remaining := _keys_of(model_store, repo, commit):
        raise StorageError(
            f"The bucket still shows {len(remaining)} objects of {repo}, such as {next(iter(remaining))}."
        )
    return sum(keys.values())


def _keys_of(model_store: ModelStore, repo: str, commit: str) -> Mapping[str, int]:
    keys = {one.key: one.size for one in model_store.store.objects(model_store.prefix(repo))}
    refs = model_store.prefix(repo, "refs")
    return {
        key: size
        for key, size in keys.items()
        if not commit
        or f"/{commit}/" in key
        or key.endswith(f"/{commit}.json")
        or (key.startswith(refs) and model_store.ref(repo, key.removeprefix(refs)) == commit)
    }


def unknown_model(model_store: ModelStore, repo: str, revision: str) -> CvlError:
    """Return the error for a model that the bucket does not hold, with similar names."""
    all_names = sorted({model.repo for model in stored_models(model_store).models})
    at = f" at {revision}" if revision and repo in all_names else ""
    mistake = InputProblem(
        field="REPO",
        value=repo,
        problem=f"is not a model of {model_store.address}{at}",
        near=nearly_same(repo, all_names),
    )
    return RequestError([mistake], next_step=f"cvl-ci models list --in {model_store.address} shows the models.")
