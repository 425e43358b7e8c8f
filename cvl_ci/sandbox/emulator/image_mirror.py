"""The registry from which machines pull: images of the user's own Docker, and only those that carry its label.

A machine's Docker Engine asks it first, as a mirror of Docker Hub. Requests and answers are those of the OCI
Distribution Specification 1.1, "Pull" and "Content discovery"; the manifest is Docker's "Image Manifest V 2, Schema 2".
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.engine import LABEL, Docker

PREFIX = "/v2/"
OFFERED = f"{LABEL}-offered"
"""The label of an image that machines may pull. The others may hold secrets of the user."""
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_REQUEST = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?P<kind>manifests|blobs)/(?P<reference>[\w.:-]+)")
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SavedImage:
    """One image: its manifest, and for the digest of each blob its place and length in the file of `docker save`."""

    file: IO[bytes]
    blobs: Mapping[str, tuple[int, int]]
    manifest: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    def read(self, digest: str) -> Iterator[bytes]:
        start, length = self.blobs[digest]
        for offset in range(start, start + length, _PIECE):
            yield os.pread(self.file.fileno(), min(_PIECE, start + length - offset), offset)


class ImageMirror:
    """A WSGI application for the requests of `docker pull`. The images' files have no name and end with the process."""

    def __init__(self, directory: Path, docker: Docker) -> None:
        self._directory, self._docker = directory, docker
        self._images: dict[str, SavedImage] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_head = environ["REQUEST_METHOD"] == "HEAD"
        if environ["PATH_INFO"] == PREFIX:
            return _say(start_response, "200 OK", "application/json", [b"{}"], 2)
        request = _REQUEST.fullmatch(str(environ["PATH_INFO"]))
        image = self._image(request["name"], request["reference"]) if request else None
        if request is None or image is None:
            body = json.dumps({"errors": [{"code": "NAME_UNKNOWN", "message": "not offered to this sandbox"}]}).encode()
            return _say(start_response, "404 Not Found", "application/json", [] if is_head else [body], len(body))
        if request["kind"] == "manifests":
            digest, kind, pieces, length = image.digest, MANIFEST, iter([image.manifest]), len(image.manifest)
        else:
            digest, kind, pieces = request["reference"], "application/octet-stream", image.read(request["reference"])
            length = image.blobs[digest][1]
        return _say(start_response, "200 OK", kind, [] if is_head else pieces, length, digest=digest)

    def _image(self, name: str, reference: str) -> SavedImage | None:
        """Return the image that a tag, or the digest of a manifest or a blob, names; None if it is not offered."""
        with self._lock:
            if reference.startswith("sha256:"):
                images = self._images.values()
                return next((one for one in images if reference == one.digest or reference in one.blobs), None)
            try:
                described = json.loads(
                    self._docker.run("image", "inspect", f"{name.removeprefix('library/')}:{reference}")
                )
            except SandboxError:
                return None
            if OFFERED not in (described[0]["Config"].get("Labels") or {}):
                return None
            identity = str(described[0]["Id"])
            if identity not in self._images:
                self._images[identity] = self._saved(identity)
            return self._images[identity]

    def _saved(self, identity: str) -> SavedImage:
        file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # it lives as long as this process
        with self._docker.reading("save", identity) as saved:
            while piece := saved.output.read(_PIECE):
                file.write(piece)
            if saved.code():
                raise SandboxError(f"docker save {identity} failed.", next_step="See `docker info` and the free disk.")
        file.flush()
        return index(file)


def index(file: IO[bytes]) -> SavedImage:
    """Return the image in a file of `docker save`. Its layers are plain archives, whose digests the config lists."""
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        members = {member.name: member for member in archive.getmembers()}

        def place(name: str) -> tuple[int, int]:
            member = members[name]
            if member.issym():  # a layer that another one repeats
                return place(posixpath.normpath(f"{posixpath.dirname(name)}/{member.linkname}"))
            return member.offset_data, member.size

        [entry] = json.loads(_content(archive, "manifest.json"))
        config = _content(archive, entry["Config"])
        layers = dict(zip(json.loads(config)["rootfs"]["diff_ids"], entry["Layers"], strict=True))
        blobs = {digest_of(config): place(entry["Config"]), **{one: place(name) for one, name in layers.items()}}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(config), "digest": digest_of(config)},
        "layers": [
            {"mediaType": _LAYER, "size": blobs[one][1], "digest": one}
            for one in json.loads(config)["rootfs"]["diff_ids"]
        ],
    }
    return SavedImage(file=file, blobs=blobs, manifest=json.dumps(document).encode())


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise SandboxError(f"docker save wrote {name} as no file.", next_step="See `docker version`.")
    return file.read()


def _say(
    start_response: Callable[..., Any],
    status: str,
    kind: str,
    pieces: Iterable[bytes],
    length: int,
    *,
    digest: str = "",
) -> Iterable[bytes]:
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(length)),
        ("Docker-Distribution-Api-Version", "registry/2.0"),
    ]
    start_response(status, [*headers, ("Docker-Content-Digest", digest)] if digest else headers)
    return pieces
