"""What a build script tags is read from its text, through its variables and their defaults."""

from __future__ import annotations

import pytest

from cvl_ci.planning import image


@pytest.mark.parametrize(
    ("script", "tag"),
    [
        ("docker build -t nanogpt .", "nanogpt"),
        ('docker build -t "nanogpt:v1" .', "nanogpt:v1"),
        ("docker build --tag=x/y:z .", "x/y:z"),
        ("docker buildx build --load -t x .", "x"),
        ("docker build \\\n  --build-arg A=b \\\n  -t x \\\n  .", "x"),
        ('docker build -t "${CVL_IMAGE:-name}" .', "name"),
        ("docker build -t ${CVL_IMAGE:-${IMAGE:-inner}} .", "inner"),
        ('IMG="${CVL_IMAGE:-name}"\ndocker build -t "$IMG" .', "name"),
        ('IMG="${IMG:-name}"\ndocker build -t "${IMG}" .', "name"),
        ("NAME=a\nTAG=b\ndocker build -t $NAME:$TAG .", "a:b"),
        ("export NAME=a\ndocker build -t ${NAME}:latest .", "a:latest"),
        ("docker build -t first .\ndocker build -t second .", "second"),
        ("# docker build nothing\necho docker run -t x", None),
        ("docker build -t $(basename $PWD) .", None),
        ("docker build -t $UNKNOWN .", None),
        ("A=$B\nB=$A\ndocker build -t $A .", None),
        ("docker run -it x", None),
        ("", None),
    ],
)
def test_the_tag_is_read(script: str, tag: str | None) -> None:
    assert image.tagged(script) == tag


def test_of_several_the_one_the_example_names_is_taken() -> None:
    assert image.tagged("docker build -t a .\ndocker build -t b .", expected="a") == "a"
    assert image.tagged("docker build -t a .", expected="other") == "a"
