"""The recipe of a build script: its plain arguments, and each build whose image would be another one."""

from __future__ import annotations

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning.build_script import build_arguments

ROOT = 'ROOT="$(cd "$(dirname "$0")/.." && pwd)"\n'


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('docker build -t "${CVL_IMAGE:-x}" "$(dirname "$0")"\n', {}),
        (
            'docker build --tag x --build-arg A=1 --build-arg="B=two words" "$SCRIPT_DIR"\n',
            {"A": "1", "B": "two words"},
        ),
        ('docker build \\\n  -t x \\\n  -f "$SCRIPT_DIR/Dockerfile" \\\n  "${SCRIPT_DIR}"\n', {}),
        ("docker buildx build --progress plain --platform linux/amd64 --load -t x .\n", {}),
        ('S="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"  # here\ncd "$S"\ndocker build -t x "$S/"\n', {}),
        ("cd $(dirname $(readlink -f $0)) && docker build -t x . > build.log 2>&1  # quiet\n", {}),
        ('# docker build --target old .\necho "docker build now"\ndocker build --build-arg A=x#y .', {"A": "x#y"}),
    ],
)
def test_a_build_script_adds_its_plain_arguments(script: str, expected: dict[str, str]) -> None:
    assert build_arguments(script) == expected


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("make image\n", "no `docker build`"),
        ("docker build .\ndocker build --build-arg A=1 .\n", "2 `docker build`"),
        ('docker build --build-arg V="$(date)" .', "whose value its script computes"),
        ("docker build --build-arg TOKEN .", "whose value its script computes"),
        ("docker build -f Dockerfile.gpu .", "not its Dockerfile"),
        ("docker build -fDockerfile.gpu .", "builds with -fDockerfile.gpu"),
        (ROOT + 'docker build -f "$ROOT/other/Dockerfile" .', "not its Dockerfile"),
        ("docker build --target small .", "builds with --target"),
        ("docker build --secret id=a,src=b .", "builds with --secret"),
        ("docker build --build-context a=../a .", "builds with --build-context"),
        ("docker build --platform linux/arm64 .", "machines are linux/amd64"),
        ('docker build "${ARGS[@]}" .', "not its own folder"),
        ("docker build $EXTRA .", "not its own folder"),
        ("docker build -t x", "no folder"),
        ("docker build - < Dockerfile", "builds with -"),
        ('docker build "$REPO_ROOT"', "not its own folder"),
        ('docker build "$(dirname "$0")/.."', "not its own folder"),
        (ROOT.replace("ROOT", "SCRIPT_DIR") + 'docker build "$SCRIPT_DIR"', "not its own folder"),
        ("cd ../.. && docker build -f examples/e/Dockerfile .", "goes to ../.. before its build"),
        ("(cd docker && docker build .)", "goes to docker before its build"),
        ("docker build -t 'x .", "cannot be read"),
    ],
)
def test_another_kind_of_build_is_named(script: str, problem: str) -> None:
    with pytest.raises(Wrong, match=problem):
        build_arguments(script)
