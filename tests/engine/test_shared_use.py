"""The key pair that follows from a secret, and the note on a machine that lets one of two runs in."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cvl_ci.clouds.child_environment import for_programs
from cvl_ci.engine import entry_key, script
from cvl_ci.model.reuse import SECRET_VARIABLE
from cvl_ci.model.secret import Secret

SECRET = Secret("a secret of the repository, 32 characters")


def test_two_runners_derive_the_same_pair_and_ssh_takes_it(tmp_path: Path) -> None:
    one, two = (entry_key.derive(SECRET, user_id="0badcafe", lease="cvl-7-0badcafe") for _ in range(2))
    assert one.public == two.public, "the private text has random check bytes"
    assert SECRET.reveal() not in one.private.reveal()
    file = tmp_path / "key"
    file.write_text(one.private.reveal())
    file.chmod(0o600)
    told = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True)
    assert told.stdout.split()[:2] == one.public.split()[:2]
    assert one.private.reveal() not in repr(one)


@pytest.mark.parametrize(
    ("secret", "user_id", "lease"),
    [
        (Secret("a secret of the repository, 33 characters"), "0badcafe", "cvl-7-0badcafe"),
        (SECRET, "1badcafe", "cvl-7-0badcafe"),
        (SECRET, "0badcafe", "cvl-8-0badcafe"),
    ],
)
def test_another_secret_repository_or_lease_has_another_pair(secret: Secret, user_id: str, lease: str) -> None:
    own = entry_key.derive(SECRET, user_id="0badcafe", lease="cvl-7-0badcafe")
    assert entry_key.derive(secret, user_id=user_id, lease=lease).public != own.public


def test_no_program_gets_the_secret() -> None:
    own = {SECRET_VARIABLE: "s", "CVL_CI_REGISTRY_USER": "u", "CVL_CI_REGISTRY_PASSWORD": "p"}
    environ = {**own, "INPUT_REUSE_KEY": SECRET.reveal(), "PATH": "/bin"}
    assert for_programs(environ) == {"PATH": "/bin"}


def change(home: Path, before: str, after: str) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", script.change_use(before, after)],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.strip()


def test_of_twenty_that_take_a_use_at_once_one_gets_it(tmp_path: Path) -> None:
    (tmp_path / ".cvl-ci-birth").mkdir()
    assert change(tmp_path, "", "idle-1") == (0, f"{script.HAS_USE}idle-1")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: change(tmp_path, "idle-1", f"busy-2-{number}"), range(20)))
    assert {code for code, _ in answers} == {0}
    taken = [text for _, text in answers if text.startswith(script.HAS_USE)]
    others = {text for _, text in answers if text.startswith(script.HAS_OTHER_USE)}
    assert len(taken) == 1 and len(answers) == 20
    assert others == {script.HAS_OTHER_USE + taken[0].removeprefix(script.HAS_USE)}


def test_a_machine_without_its_folder_gives_no_answer(tmp_path: Path) -> None:
    code, text = change(tmp_path, "idle-1", "busy-2-x")
    assert code != 0 and not re.search("use", text)


def test_words_of_a_use_are_no_commands(tmp_path: Path) -> None:
    (tmp_path / ".cvl-ci-birth").mkdir()
    word = "idle-1; touch $HOME/ran"
    assert change(tmp_path, "", word) == (0, f"{script.HAS_USE}{word}")
    assert not (tmp_path / "ran").exists()
