"""The image's name is what goes into it; where it comes from is tried in order, and said."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker import debian, image
from tests.sandbox.docker_stand_in import docker_that

MADE = image.Recipe(parts={"boot": b"1"}, authorities={}, arguments={"UV_VERSION": "1"})


@pytest.fixture(autouse=True)
def no_other_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_equal_recipes_have_one_name_and_any_change_another() -> None:
    changed = [
        replace(MADE, parts={"boot": b"2"}),
        replace(MADE, parts={"boot": b"1", "more": b""}),
        replace(MADE, authorities={"ca.crt": b"trusted"}),
        replace(MADE, arguments={"UV_VERSION": "2"}),
    ]
    assert len({item.tag for item in [MADE, *changed]}) == 5
    assert replace(MADE).tag == MADE.tag
    assert MADE.tag.startswith("cvl-ci-sandbox:")


def test_the_hosts_own_authorities_are_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "company.crt").write_bytes(b"PEM")
    (tmp_path / "notes.txt").write_bytes(b"no certificate")
    assert image.recipe(authorities=tmp_path).authorities == {"company.crt": b"PEM"}
    assert image.recipe(authorities=tmp_path / "absent").authorities == {}


def test_it_is_made_for_the_skypilot_that_is_installed() -> None:
    from importlib.metadata import version

    assert image.recipe().arguments["SKYPILOT_VERSION"] == version("skypilot")


def test_an_image_that_is_there_is_not_built(tmp_path: Path) -> None:
    docker = docker_that(tmp_path, 'case "$2" in ls) echo 0123;; inspect) echo 5;; *) exit 1;; esac')
    messages: list[str] = []
    assert image.ensure(docker, workshop=tmp_path, environment={}, say=messages.append) == image.recipe().tag
    assert messages == []


def test_every_long_step_is_one_of_the_dockerfiles() -> None:
    lines = (image.PARTS / "Dockerfile").read_text().splitlines()
    assert all(any(line.startswith(words) for line in lines) for words in image.STEPS)


def test_a_failed_build_shows_its_last_lines_and_where_all_are(tmp_path: Path) -> None:
    script = """case "$1 $2" in
      "image ls") case "$4" in debian*) echo 0123;; esac;;
      "save "*) echo tar;;
      "build "*) echo "Step 1/9 : RUN apt-get update"; echo "E: no network"; exit 1;;
    esac"""
    messages: list[str] = []
    with pytest.raises(SandboxError, match="E: no network") as error:
        image.ensure(docker_that(tmp_path, script), workshop=tmp_path / "image", environment={}, say=messages.append)
    assert str(tmp_path / "image/build.log") in error.value.next_step
    assert any(line.endswith("Debian's packages") for line in messages)
    assert not (tmp_path / "image/context").exists()


def test_debian_is_pulled_where_that_can_be_done(tmp_path: Path) -> None:
    docker = docker_that(tmp_path, "exit 0")
    messages: list[str] = []
    assert debian.ensure(docker, workshop=tmp_path, environment={}, say=messages.append) == "debian:bookworm-slim"
    assert messages == ["  pulling debian:bookworm-slim"]


def cannot_pull(directory: Path) -> str:
    answers = 'pull) echo "no such host" >&2; exit 1;; import) cat > /dev/null;;'
    return f'echo "$@" >> {directory}/said; case $1 in {answers} esac'


def test_without_registry_and_debootstrap_it_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "ADMINISTRATORS", "")
    docker = docker_that(tmp_path, cannot_pull(tmp_path))
    with pytest.raises(SandboxError, match="debootstrap is not installed") as error:
        debian.ensure(docker, workshop=tmp_path, environment={"PATH": str(tmp_path)}, say=lambda line: None)
    assert "apt-get install debootstrap" in error.value.next_step


def stand_in(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def as_root_or_not(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)


def test_where_it_cannot_be_pulled_debootstrap_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root_or_not(monkeypatch, 0)
    stand_in(tmp_path, "debootstrap", f'for last; do :; done; mkdir -p "$last"; echo "$@" > {tmp_path}/asked')
    docker = docker_that(tmp_path, cannot_pull(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    messages: list[str] = []
    assert debian.ensure(docker, workshop=tmp_path, environment=environment, say=messages.append) == debian.BUILT
    assert "--variant=minbase" in (tmp_path / "asked").read_text()
    assert any("no such host" in line for line in messages)
    assert not (tmp_path / "root").exists()


def test_a_user_who_may_not_become_root_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root_or_not(monkeypatch, 1000)
    stand_in(tmp_path, "debootstrap", "exit 0")
    stand_in(tmp_path, "sudo", "exit 1")
    docker = docker_that(tmp_path, cannot_pull(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with pytest.raises(SandboxError, match="only root may build it") as error:
        debian.ensure(docker, workshop=tmp_path, environment=environment, say=lambda line: None)
    assert "once as root" in error.value.next_step


def test_a_debootstrap_that_fails_shows_its_last_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root_or_not(monkeypatch, 0)
    stand_in(tmp_path, "debootstrap", "echo 'E: cannot reach the mirror'; exit 1")
    docker = docker_that(tmp_path, cannot_pull(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with pytest.raises(SandboxError, match="cannot reach the mirror") as error:
        debian.ensure(docker, workshop=tmp_path, environment=environment, say=lambda line: None)
    assert str(tmp_path / "debootstrap.log") in error.value.next_step
