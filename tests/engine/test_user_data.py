"""The boot timer: SkyPilot's user data stays whole beside it, and it powers a machine off at its deadline."""

from __future__ import annotations

import email
import os
import subprocess
import time
from pathlib import Path

import pytest

from cvl_ci.engine import user_data

SKY = "#cloud-config\nbootcmd:\n  - echo ü\n"


def parts(text: str) -> dict[str, str]:
    found = {}
    for part in email.message_from_string(text).walk():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            found[part.get_content_type()] = payload.decode()
    return found


def test_skypilots_user_data_goes_along_as_it_is() -> None:
    request = user_data.armed({"UserData": SKY, "MinCount": 1}, deadline=time.time() + 60)
    assert parts(request["UserData"])["text/cloud-config"] == SKY
    assert request["MinCount"] == 1


def test_a_power_off_is_asked_to_be_a_termination() -> None:
    assert user_data.armed({}, deadline=0.0)["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_the_hook_comes_first_and_names_the_deadline() -> None:
    found = parts(user_data.user_data(SKY, deadline=1_800_000_000.9, seconds=90.5))
    assert next(iter(found)) == "text/cloud-boothook"
    assert "original=1800000000 seconds=90\n" in found["text/cloud-boothook"]


def test_it_fits_in_what_ec2_takes() -> None:
    assert len(user_data.user_data(SKY * 40, deadline=1.8e9, seconds=90)) < 16_384


@pytest.mark.parametrize(
    ("by_clock", "seconds"),
    [(1, 600), (600, 1)],
    ids=["by the clock", "by the time since boot, whatever the clock says"],
)
def test_the_timer_powers_the_machine_off(tmp_path: Path, by_clock: int, seconds: int) -> None:
    off = tmp_path / "off"
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" > {off}\nsleep 60\n')
    systemctl.chmod(0o755)
    hook = parts(user_data.user_data("", deadline=time.time() + by_clock, seconds=seconds))["text/cloud-boothook"]
    # A machine of our own: its directories, and none of this host's systemd.
    for theirs in ("/var/lib/cvl-ci", "/run/cvl-ci-booted", "/run/systemd/system", "/dev/console"):
        hook = hook.replace(theirs, str(tmp_path / theirs.replace("/", "_")))
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    with subprocess.Popen(["sh", "-c", hook.replace("setsid ", "exec ").replace("2>&1 &", "2>&1")], env=env) as timer:
        try:
            deadline = time.monotonic() + 10
            while not off.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert off.read_text() == "poweroff --force\n"
        finally:
            timer.kill()
