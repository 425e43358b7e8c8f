"""The docker command as it is called: its words, its environment, and its folder with the login. Docker is a script."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.commands.deploy.image_step import ImageContent
from cvl_ci.local.docker_images import DockerImages
from cvl_ci.model.container_image import ImageName, RegistryLogin
from cvl_ci.model.secret import Secret
from cvl_ci.ports.images import ImageBuild
from cvl_ci.wiring import images

NAME = ImageName(host="registry.test", path="cvl/images", tag="one")
LOGIN = RegistryLogin(user="anna", password=Secret("the-password"))
DOCKER = """#!/bin/sh
echo "$@" > "$SEEN/words"
env > "$SEEN/env"
[ "$1" = --config ] && cp -rL "$2" "$SEEN/config"
exit 0
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


def environ(seen: Path, **more: str) -> dict[str, str]:
    path = f"{seen.parent}:{os.environ['PATH']}"
    return {"PATH": path, "SEEN": str(seen), "HOME": str(seen.parent), **more}


def build(seen: Path, config: dict[str, Any] | None = None) -> None:
    recipe = ImageBuild(folder=seen.parent, name=NAME, arguments={"A": "1"}, logins={NAME.host: LOGIN})
    DockerImages(environ(seen), config=config or {}).build(recipe, tell=lambda _: None)


def test_an_image_is_built_for_the_machines_and_not_for_this_computer(seen: Path) -> None:
    build(seen)
    words = (seen / "words").read_text()
    assert " build --platform linux/amd64 --build-arg A=1 --tag registry.test/cvl/images:one " in words
    assert "anna" not in words and "the-password" not in words


def test_docker_gets_no_token_and_no_password(seen: Path) -> None:
    tokens = {
        "CVL_CI_REGISTRY_USER": "anna",
        "CVL_CI_REGISTRY_PASSWORD": "the-password",
        "INPUT_REGISTRY_PASSWORD": "the-password",
        "GITHUB_TOKEN": "ghs_token",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "oidc",
    }
    content = ImageContent(example="x", folder=seen.parent)
    ports = images._ports(content, NAME, environ(seen, **tokens), lambda _: None)
    ports.builder.local_image("base")
    text = (seen / "env").read_text()
    assert "DOCKER_CLI_HINTS" in text
    assert [name for name, value in tokens.items() if name in text or value in text] == []
    assert ports.login[NAME.host] == LOGIN


def test_no_docker_is_no_image_of_this_computer(tmp_path: Path) -> None:
    assert DockerImages({"PATH": str(tmp_path)}, config={}).local_image("base") is None


def test_the_folder_of_a_build_has_the_login(seen: Path) -> None:
    build(seen)
    assert set(json.loads((seen / "config" / "config.json").read_text())["auths"]) == {NAME.host}
