"""Debian asks no question while a mount's packages are installed: SkyPilot's own scripts, and Debian's own dpkg."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

CONFIGURATION = "etc/fuse.conf"


@pytest.mark.sky
@pytest.mark.parametrize("tool", ["rclone", "gcs", "az", "hf_mount", "s3_mount"])
def test_every_package_of_every_tool_is_installed_without_a_question(tool: str) -> None:
    from sky.data import mounting_utils

    from cvl_ci.engine.worker import mount_packages

    mount_packages.answer_dpkg()
    mount_packages.answer_dpkg()
    name = {"gcs": "get_gcs_mount_install_cmd", "az": "get_az_mount_install_cmd"}.get(tool, f"get_{tool}_install_cmd")
    mounting = f"{mounting_utils.FUSE3_INSTALL_CMD} && rclone mount :s3:b /b"
    script = mounting_utils.get_mounting_command("/b", getattr(mounting_utils, name)(), mounting)
    installed = re.findall(r"(?:apt-get|dpkg)[^|&;\n]*? (?:install|-i|--install) ", script)
    assert installed
    for command in installed:
        assert command.count("--force-confold") == command.count("--force-confdef") == 1


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this computer has no dpkg")
@pytest.mark.sky
@pytest.mark.parametrize("is_answered", [False, True])
def test_dpkg_itself_asks_about_an_edited_file_and_takes_the_answer(tmp_path: Path, is_answered: bool) -> None:
    """Two versions of a package in a root of their own; between them somebody edits its configuration."""
    from cvl_ci.engine.worker import mount_packages

    _install(tmp_path, _package(tmp_path, version="1", text="#user_allow_other\n"), is_answered=False)
    file = tmp_path / "root" / CONFIGURATION
    file.write_text("user_allow_other\n")
    done = _install(
        tmp_path, _package(tmp_path, version="2", text="# new\n#user_allow_other\n"), is_answered=is_answered
    )
    assert (done.returncode == 0) is is_answered, done.stdout + done.stderr
    assert ("end of file on stdin at conffile prompt" in done.stderr) is not is_answered
    assert file.read_text() == "user_allow_other\n"
    answers = "--force-confdef --force-confold"
    assert mount_packages.with_answers("sudo dpkg -i x") == f"sudo dpkg {answers} -i x"


def _package(folder: Path, *, version: str, text: str) -> Path:
    root = folder / f"package-{version}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / CONFIGURATION).write_text(text)
    about: Mapping[str, str] = {
        "Package": "cvl-ci-test",
        "Version": version,
        "Architecture": "all",
        "Maintainer": "nobody <nobody@example.org>",
        "Description": "test",
    }
    (root / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in about.items()))
    (root / "DEBIAN/conffiles").write_text(f"/{CONFIGURATION}\n")
    target = folder / f"{version}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, target], check=True, capture_output=True)
    return target


def _install(folder: Path, package: Path, *, is_answered: bool) -> subprocess.CompletedProcess[str]:
    from cvl_ci.engine.worker import mount_packages

    root = folder / "root"
    (root / "var/lib/dpkg/updates").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/info").mkdir(exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    line = f"sudo dpkg -i --root={root} --force-not-root --force-script-chrootless --log={root}/log {package}"
    line = mount_packages.with_answers(line) if is_answered else line
    return subprocess.run(
        ["bash", "-c", f'sudo() {{ "$@"; }}; {line}'],
        env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
