"""The docker command as it is called: its words, its environment, and its folder with the login. Docker is a script."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.commands.deploy.image_step import ImageContent
from cvl_ci.errors import CredentialsError
from cvl_ci.local.docker_images import DockerImages, make_modes_plain
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
    assert " build --platform linux/amd64 " in words and " --build-arg A=1 " in words
    assert " --tag registry.test/cvl/images:one " in words
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


@pytest.mark.parametrize("broken", [{}, {"auths": None}, {"auths": 1}, {"credHelpers": None}])
def test_the_folder_of_a_build_has_the_needed_logins_alone(seen: Path, broken: dict[str, Any]) -> None:
    own = {"auths": {"other.test": {"auth": "x"}}, "credsStore": "desktop", "currentContext": "far", **broken}
    build(seen, own)
    settings = json.loads((seen / "config" / "config.json").read_text())
    assert set(settings["auths"]) == {NAME.host} and settings["currentContext"] == "far"
    assert "credsStore" not in settings and "credHelpers" not in settings


def test_the_folder_of_a_build_leads_to_the_user_s_engine_and_plugins(seen: Path) -> None:
    for name in ("contexts/meta", "cli-plugins"):
        folder = seen.parent / ".docker" / name
        folder.mkdir(parents=True)
        (folder / "file").write_text("of the user")
    build(seen)
    assert (seen / "config" / "contexts" / "meta" / "file").read_text() == "of the user"
    assert (seen / "config" / "cli-plugins" / "file").exists()
    assert (seen.parent / ".docker" / "cli-plugins" / "file").exists(), "the end of the folder ends nothing of the user"


def test_a_staged_folder_has_the_modes_of_git(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    for name, mode in (("a", 0o600), ("folder/b", 0o664), ("run", 0o700)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    make_modes_plain(tmp_path)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "folder/b", "run", "folder")}
    assert modes == {"a": 0o644, "folder/b": 0o644, "run": 0o755, "folder": 0o755}


def test_a_base_image_without_a_login_of_its_cloud_is_asked_for_as_a_stranger(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise CredentialsError("The credentials of Google Cloud gave no login for gcr.io")

    content = ImageContent(example="x", folder=seen.parent, bases=("gcr.io/a/b:1",))
    own = environ(seen, CVL_CI_REGISTRY_PASSWORD="p")
    monkeypatch.setattr("cvl_ci.clouds.container_registry.logins._login_of", none)
    assert images._ports(content, NAME, own, lambda _: None).login["gcr.io"] is None
    with pytest.raises(CredentialsError):
        images._ports(content, ImageName(host="gcr.io", path="a/b"), environ(seen), lambda _: None)


def test_ghcr_takes_the_input_github_token_of_a_step(seen: Path) -> None:
    own = images.with_login(environ(seen), user="", password="", github_token="ghs_token")
    ghcr = ImageName(host="ghcr.io", path="owner/images")
    login = images._ports(ImageContent(example="x", folder=seen.parent), ghcr, own, lambda _: None).login["ghcr.io"]
    assert login is not None and login.password == Secret("ghs_token")
