"""The boot timer: SkyPilot's user data stays whole beside it, and it powers a machine off at its deadline."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cvl_ci.engine.task import script
from cvl_ci.engine.worker import user_data

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
    found = parts(user_data.user_data(SKY, deadline=1_800_000_000.9, seconds=90.5, set_up_end=1.7e9))
    assert next(iter(found)) == "text/cloud-boothook"
    assert "original=1800000000 seconds=90 set_up_end=1700000000\n" in found["text/cloud-boothook"]


def test_it_fits_in_what_ec2_takes() -> None:
    assert len(user_data.user_data(SKY * 40, deadline=1.8e9, seconds=90)) < 16_384


def timer_in(folder: Path, *, by_clock: float, seconds: float, set_up: float) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the timer of a machine of the test's own. Return it, and the file that its power-off writes."""
    off = folder / "off"
    (folder / "bin").mkdir()
    systemctl = folder / "bin" / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" > {off}\nsleep 60\n')
    systemctl.chmod(0o755)
    now = time.time()
    text = user_data.user_data("", deadline=now + by_clock, seconds=seconds, set_up_end=now + set_up)
    hook = parts(text)["text/cloud-boothook"]
    # Its own directories, and none of this host's systemd.
    for place in ("/var/lib/cvl-ci", "/run/cvl-ci-booted", "/run/systemd/system", "/dev/console"):
        hook = hook.replace(place, str(folder / place.replace("/", "_")))
    env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    words = ["sh", "-c", hook.replace("setsid ", "exec ").replace("2>&1 &", "2>&1")]
    return subprocess.Popen(words, env=env), off


def comes_true(fact: Callable[[], bool], *, within: float = 60.0) -> bool:
    until = time.monotonic() + within
    while not fact() and time.monotonic() < until:
        time.sleep(0.05)
    return fact()


@pytest.mark.parametrize(
    ("by_clock", "seconds", "set_up"),
    [(1, 600, 600), (600, 1, 600), (600, 600, 1)],
    ids=["by the clock", "by the time since boot, whatever the clock says", "when no runner has set it up"],
)
def test_the_timer_powers_the_machine_off(tmp_path: Path, by_clock: int, seconds: int, set_up: int) -> None:
    timer, off = timer_in(tmp_path, by_clock=by_clock, seconds=seconds, set_up=set_up)
    with timer:
        try:
            assert comes_true(lambda: off.exists() and off.read_text() == "poweroff --force\n")
        finally:
            timer.kill()


def test_a_machine_that_was_set_up_lives_on(tmp_path: Path) -> None:
    timer, off = timer_in(tmp_path, by_clock=600, seconds=600, set_up=3)
    early = tmp_path / "_var_lib_cvl-ci" / "set-up-end"

    def waits_for_the_deadline() -> bool:
        """Return whether it sleeps for a quarter of a minute: an end within three seconds lets it sleep less."""
        children = Path(f"/proc/{timer.pid}/task/{timer.pid}/children").read_text().split()
        return any(Path(f"/proc/{child}/cmdline").read_bytes() == b"sleep\x0015\0" for child in children)

    with timer:
        try:
            assert comes_true(early.exists)
            command = script.end_set_up().replace("/var/lib/cvl-ci", str(early.parent)).replace("sudo -n ", "")
            for _ in range(2):  # a machine that has no such file is set up already
                subprocess.run(["bash", "-c", command], check=True)
            assert comes_true(waits_for_the_deadline) and not off.exists()
        finally:
            timer.kill()


def test_a_reboot_does_not_bring_the_earlier_end_back(tmp_path: Path) -> None:
    state = tmp_path / "_var_lib_cvl-ci"
    for is_first in (True, False):
        timer, _ = timer_in(tmp_path, by_clock=600, seconds=600, set_up=3)
        with timer:
            try:
                assert comes_true((state / "timer").exists), "the last file that the hook writes"
                assert (state / "set-up-end").exists() == is_first
            finally:
                timer.kill()
        for path in (state / "set-up-end", state / "timer"):
            path.unlink(missing_ok=True)
        shutil.rmtree(tmp_path / "bin")
