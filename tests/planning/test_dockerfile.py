"""What a Dockerfile begins from."""

from __future__ import annotations

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning.dockerfile import bases

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("FROM debian:12\nRUN true\n", {}, ["debian:12"]),
        ("# FROM a\nFROM --platform=linux/amd64 b AS build\nFROM scratch\nCOPY --from=build /x /x\n", {}, ["b"]),
        ("ARG BASE=one\nARG TAG\nFROM ${BASE}:${TAG:-9}\n", {}, ["one:9"]),
        ("ARG BASE=one\nFROM $BASE\nARG BASE=two\nFROM ${BASE}\n", {"BASE": "three"}, ["three"]),
        ("FROM a AS x\nFROM x AS y\nFROM y\nCOPY --from=nginx:1 /a /b\nCOPY --from=0 /a /b\n", {}, ["a", "nginx:1"]),
        ("FROM a\nRUN --mount=type=bind,from=tools:2,target=/t true\n", {}, ["a", "tools:2"]),
        ("FROM a\nRUN --mount=from=tools:2,target=/t pip install x --from=y\n", {}, ["a", "tools:2"]),
        ('FROM a AS Builder\nFROM Builder\nCOPY --from="b:1" /x /x\n', {}, ["a", "b:1"]),
        ("ARG V=1\nARG BASE=img:${V}\nFROM $BASE\n", {}, ["img:1"]),
        ("ARG V=1\nARG BASE=img:${V}\nFROM $BASE\n", {"V": "2"}, ["img:2"]),
        ("FROM a\nRUN <<'EOF'\nFROM b\nEOF\nCOPY --from=c:1 /x /x\n", {}, ["a", "c:1"]),
        ("FROM \\\n  a:1\nfrom a:1\n", {}, ["a:1"]),
        (f"FROM nvidia/cuda@{DIGEST}\n", {}, [f"nvidia/cuda@{DIGEST}"]),
        ("", {}, []),
    ],
)
def test_the_base_images_of_a_dockerfile(text: str, arguments: dict[str, str], expected: list[str]) -> None:
    assert list(bases(text, arguments)) == expected


def test_a_base_without_a_value_is_named() -> None:
    with pytest.raises(Wrong, match="BASE has no value"):
        bases("ARG BASE\nFROM $BASE\n", {})
