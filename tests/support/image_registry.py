"""A real registry of images on this computer's loopback: Debian's docker-registry (distribution 2.8)."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import in_ci

PROGRAM = "docker-registry"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def require_program() -> None:
    """Skip the test where it is not installed, and fail in CI."""
    if shutil.which(PROGRAM) is None:
        tell = pytest.fail if in_ci() else pytest.skip
        tell("NOT TRIED against a real registry: docker-registry is not installed (script/bootstrap --with-peers)")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def serving(folder: Path, *, htpasswd: str = "") -> Iterator[str]:
    """Run a registry and yield its host. `htpasswd`: a line of that format; empty: everyone may read and write."""
    require_program()
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    (folder / "htpasswd").write_text(htpasswd)
    access = {"auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}} if htpasswd else {}
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
    (folder / "config.yml").write_text(
        json.dumps({"version": 0.1, "storage": storage, "http": {"addr": host}, "log": {"level": "error"}, **access})
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        name, _, port = host.partition(":")
        for _ in range(500):
            with socket.socket() as one:
                if one.connect_ex((name, int(port))) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        yield host
    finally:
        process.kill()
        process.wait()


def put_image(host: str, path: str, tag: str, *, authorization: str = "") -> str:
    """Push an image without layers by the registry's API, and return its digest. No Docker is needed."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    headers = {"Authorization": authorization} if authorization else {}

    def send(method: str, url: str, body: bytes, kind: str) -> str:
        request = urllib.request.Request(url, method=method, data=body, headers={**headers, "Content-Type": kind})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return str(answer.headers.get("Location") or answer.headers.get("Docker-Content-Digest"))

    place = send("POST", f"http://{host}/v2/{path}/blobs/uploads/", b"", "application/octet-stream")
    join = "&" if "?" in place else "?"
    send("PUT", f"{place}{join}digest={digest}", config, "application/octet-stream")
    kind = "application/vnd.docker.container.image.v1+json"
    about = {"mediaType": kind, "size": len(config), "digest": digest}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": []}).encode()
    send("PUT", f"http://{host}/v2/{path}/manifests/{tag}", manifest, MANIFEST)
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
