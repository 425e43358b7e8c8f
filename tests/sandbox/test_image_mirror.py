"""The registry for machines: the answers to a client's pull, and no image without the label."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.sandbox.emulator.image_mirror import MANIFEST, OFFERED, ImageMirror
from tests.sandbox.docker_stand_in import docker_that

LAYERS = (b"first layer" * 1000, b"second layer")


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


CONFIG = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest(LAYERS[0]), digest(LAYERS[1])]}}).encode()


def saved(*, linked: bool = False) -> bytes:
    """Return a file as `docker save` writes it. `linked`: the second layer is a link, as Docker 20.10 repeats one."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        add("config.json", CONFIG)
        add("a/layer.tar", LAYERS[0])
        if linked:
            add("c/layer.tar", LAYERS[1])
            member = tarfile.TarInfo("b/layer.tar")
            member.type, member.linkname = tarfile.SYMTYPE, "../c/layer.tar"
            archive.addfile(member)
        else:
            add("b/layer.tar", LAYERS[1])
        entry = {"Config": "config.json", "RepoTags": ["tiny:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}
        add("manifest.json", json.dumps([entry]).encode())
    return held.getvalue()


def mirror_with(folder: Path, *, label: bool = True, linked: bool = False) -> ImageMirror:
    """Return a mirror of a Docker that has `tiny:1` and counts how often it saves it."""
    (folder / "image.tar").write_bytes(saved(linked=linked))
    labels = {OFFERED: "yes"} if label else {"other": "yes"}
    (folder / "about.json").write_text(json.dumps([{"Id": "sha256:1234", "Config": {"Labels": labels}}]))
    script = f"""case "$1 $2 $3" in
      "image inspect tiny:1") cat {folder}/about.json;;
      "image inspect "*) echo "No such image" >&2; exit 1;;
      "save sha256:1234 "*) echo saved >> {folder}/saves; cat {folder}/image.tar;;
    esac"""
    return ImageMirror(folder, docker_that(folder, script))


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the files of the images, which in the emulator live as long as its process."""
    mirrors: list[ImageMirror] = []
    make = ImageMirror.__init__

    def remember(mirror: ImageMirror, *words: Any) -> None:
        make(mirror, *words)
        mirrors.append(mirror)

    monkeypatch.setattr(ImageMirror, "__init__", remember)
    yield
    for mirror in mirrors:
        for image in mirror._images.values():
            image.file.close()


def ask(mirror: ImageMirror, path: str, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
    answer: list[Any] = []

    def start_response(*words: Any) -> None:
        answer.extend(words)

    body = b"".join(mirror({"REQUEST_METHOD": method, "PATH_INFO": path}, start_response))
    return answer[0], dict(answer[1]), body


@pytest.mark.parametrize("linked", [False, True])
def test_a_pull_gets_the_bytes_of_each_digest(tmp_path: Path, linked: bool) -> None:
    mirror = mirror_with(tmp_path, linked=linked)
    assert ask(mirror, "/v2/")[0] == "200 OK"
    status, headers, body = ask(mirror, "/v2/library/tiny/manifests/1")
    assert (status, headers["Content-Type"]) == ("200 OK", MANIFEST)
    assert headers["Docker-Content-Digest"] == digest(body)
    assert ask(mirror, "/v2/library/tiny/manifests/1", "HEAD")[1:] == (headers, b"")
    assert ask(mirror, f"/v2/library/tiny/manifests/{digest(body)}")[2] == body
    manifest = json.loads(body)
    for entry, data in zip([manifest["config"], *manifest["layers"]], [CONFIG, *LAYERS], strict=True):
        status, headers, blob = ask(mirror, f"/v2/library/tiny/blobs/{entry['digest']}")
        assert (status, blob, digest(blob)) == ("200 OK", data, entry["digest"])
        assert int(headers["Content-Length"]) == entry["size"] == len(data)
    assert (tmp_path / "saves").read_text() == "saved\n", "Docker saves an image once"


@pytest.mark.parametrize(
    "path",
    [
        "/v2/library/other/manifests/1",
        "/v2/library/tiny/manifests/2",
        f"/v2/library/tiny/manifests/sha256:{'0' * 64}",
        f"/v2/library/tiny/blobs/sha256:{'0' * 64}",
        "/v2/library/--all/manifests/1",
        "/v2/library/tiny/tags/list",
        "/v2/../../etc/passwd",
    ],
)
def test_anything_else_is_unknown(tmp_path: Path, path: str) -> None:
    assert ask(mirror_with(tmp_path), path)[0] == "404 Not Found"
    assert not (tmp_path / "saves").exists()


def test_an_image_without_the_label_stays_the_user_s_own(tmp_path: Path) -> None:
    mirror = mirror_with(tmp_path, label=False)
    assert ask(mirror, "/v2/library/tiny/manifests/1")[0] == "404 Not Found"
    assert not (tmp_path / "saves").exists()
