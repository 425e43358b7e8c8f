"""A release names its image by the digest that the registry gave it, or is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAME = "registry.example/cvl/skypilot-run"
DOCKER = """\
#!/usr/bin/env bash
echo "$*" >> "$CALLS"
case "$*" in
  "push "*) [ -z "${REFUSED:-}" ] ;;
  *"inspect"*"skypilot-run"*) echo "registry.example/cvl/skypilot-run@sha256:$(printf a%.0s {1..64})" ;;
  *"inspect"*) echo "python@sha256:$(printf b%.0s {1..64})" ;;
esac
"""


class Checkout:
    """With a bare repository as its origin, and a docker that only answers."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.here, self.calls = folder / "origin", folder / "here", folder / "calls"
        (folder / "bin").mkdir()
        (folder / "bin/docker").write_text(DOCKER)
        (folder / "bin/docker").chmod(0o755)
        self._environ = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(self.calls)}
        self._environ |= {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
        self._environ |= {"GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
        self._do("git", "init", "--quiet", "--bare", str(self.origin), at=folder)
        self._do("git", "clone", "--quiet", str(self.origin), str(self.here), at=folder)
        (self.here / "script").mkdir()
        for name in ("script/release", "Dockerfile", "action.yml"):
            (self.here / name).write_bytes((ROOT / name).read_bytes())
        (self.here / "script/release").chmod(0o755)
        (self.here / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
        self._do("git", "add", ".", at=self.here)
        self._do("git", "commit", "--quiet", "--message", "all", at=self.here)

    def _do(self, *words: str, at: Path) -> str:
        return subprocess.run(words, cwd=at, env=self._environ, check=True, capture_output=True, text=True).stdout

    def release(self, version: str, **variables: str) -> tuple[int, str]:
        result = subprocess.run(
            ["script/release", version, NAME],
            cwd=self.here,
            env={**self._environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    def tagged(self, name: str, path: str) -> str:
        return self._do("git", "show", f"{name}:{path}", at=self.origin)

    def tags(self) -> list[str]:
        return self._do("git", "tag", at=self.origin).split()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_what_is_tagged_names_image_and_base_by_digest(checkout: Checkout) -> None:
    code, text = checkout.release("1.2.0")
    assert code == 0, text
    assert checkout.tags() == ["v1", "v1.2.0"]
    for tag in checkout.tags():
        assert f"  image: docker://{NAME}@sha256:{'a' * 64}\n" in checkout.tagged(tag, "action.yml")
        assert f"ARG BASE=python@sha256:{'b' * 64}\n" in checkout.tagged(tag, "Dockerfile")
    assert f"--build-arg BASE=python@sha256:{'b' * 64}" in checkout.calls.read_text()


def test_a_push_that_is_refused_tags_nothing(checkout: Checkout) -> None:
    code, _ = checkout.release("1.2.0", REFUSED="1")
    assert code != 0
    assert checkout.tags() == []


def test_another_version_than_the_project_s_builds_nothing(checkout: Checkout) -> None:
    code, text = checkout.release("1.3.0")
    assert (code, checkout.calls.exists()) == (64, False), text


def test_a_version_is_released_once(checkout: Checkout) -> None:
    checkout.release("1.2.0")
    checkout.calls.unlink()
    code, text = checkout.release("1.2.0")
    assert (code, checkout.calls.exists()) == (64, False), text
