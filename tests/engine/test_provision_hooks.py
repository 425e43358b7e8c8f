"""Two first launches in a region race for SkyPilot's security group: who comes second is no leg without capacity."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sky

ASK = """
import json
from cvl_ci.engine import provision_hooks as attempts

def asked(*answers):
    left, times = list(answers), []
    def ask():
        times.append(1)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
    try:
        came = attempts._provisioned(ask)
    except Exception as error:
        came = str(error)
    return [came, len(times)]

def wrapped(code):
    try:
        try:
            raise RuntimeError(f"An error occurred ({code}) when calling AuthorizeSecurityGroupIngress")
        except RuntimeError as cause:
            raise ValueError("Failed to set up the network") from cause
    except ValueError as error:
        return error

print(json.dumps({
    "raced": asked(wrapped("InvalidPermission.Duplicate"), "up"),
    "raced as a group": asked(RuntimeError("(InvalidGroup.Duplicate)"), "up"),
    "raced and then full": asked(wrapped("InvalidPermission.Duplicate"), ValueError("no capacity"), "up"),
    "full": asked(ValueError("no capacity"), "up"),
}))
"""


def test_the_second_of_two_is_asked_for_once_more_and_what_is_refused_is_not(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "raced": ["up", 2],
        "raced as a group": ["up", 2],
        "raced and then full": ["no capacity", 2],
        "full": ["no capacity", 1],
    }
