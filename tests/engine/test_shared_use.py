"""The key pair that follows from a secret, and the note on a machine that lets one of two runs in."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.child_environment import for_programs
from cvl_ci.engine import entry_key
from cvl_ci.engine.sharing import SkyPilotSharing
from cvl_ci.engine.task import script
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


def test_an_answer_that_was_lost_can_be_requested_again(tmp_path: Path) -> None:
    (tmp_path / ".cvl-ci-birth").mkdir()

    class Machine:
        """The worker's side of a session: it runs the command on the machine."""

        def worker(self) -> Machine:
            return self

        def call(self, verb: str, *, command: str, **_: object) -> dict[str, object]:
            assert verb == "ask_head"
            home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
            done = subprocess.run(["bash", "-c", command], env=home, capture_output=True, text=True, check=False)
            return {"code": done.returncode, "out": done.stdout, "err": done.stderr}

    machines = SkyPilotSharing(Machine())  # type: ignore[arg-type]
    assert machines.change_use("cvl-7-0badcafe", before="", after="idle-1")
    assert [machines.change_use("cvl-7-0badcafe", before="idle-1", after="busy-2-own") for _ in range(2)] == [True] * 2
    assert not machines.change_use("cvl-7-0badcafe", before="idle-1", after="busy-2-other")


def test_a_key_stays_on_no_disk_without_its_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    adoption: Any = importlib.import_module("cvl_ci.engine.worker.adoption")
    sky_local: Any = importlib.import_module("cvl_ci.engine.worker.sky_local")
    keys: set[str] = set()
    monkeypatch.setattr(adoption.private_channels, "use_key", lambda cluster, **_: keys.add(cluster))
    monkeypatch.setattr(adoption.private_channels, "forget_key", keys.discard)
    monkeypatch.setattr(adoption.private_channels, "give_a_key_of_its_own", lambda _: None)

    def gone(*_: object) -> None:
        raise adoption.exceptions.ClusterDoesNotExist("The cloud shows 0 of 1 machines.")

    monkeypatch.setattr(adoption, "_machines", gone)
    task = {"resources": {}, "run": "true"}
    with pytest.raises(adoption.exceptions.ClusterDoesNotExist):
        adoption.adopt(None, cluster="c", task=task, region="r", nodes=1, key={"private": "", "public": ""})
    assert keys == set()
    keys.add("c")
    monkeypatch.setattr(sky_local.core, "down", gone)
    monkeypatch.setattr(sky_local.beating, "rest", lambda: None)
    assert sky_local.down(None, cluster="c") is False
    assert keys == set()
    keys.add("c")
    records = {"c", "other"}
    monkeypatch.setattr(adoption.global_user_state, "remove_cluster", lambda name, **_: records.discard(name))
    sky_local.forget(None, cluster="c")
    assert (keys, records) == (set(), {"other"}), "another run has the machine"


def test_a_machine_without_its_folder_gives_no_answer(tmp_path: Path) -> None:
    code, text = change(tmp_path, "idle-1", "busy-2-x")
    assert code != 0 and not re.search("use", text)


def test_words_of_a_use_are_no_commands(tmp_path: Path) -> None:
    (tmp_path / ".cvl-ci-birth").mkdir()
    word = "idle-1; touch $HOME/ran"
    assert change(tmp_path, "", word) == (0, f"{script.HAS_USE}{word}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("machines", "message"),
    [
        ([("m6i.large", "us-east-1a")], "The cloud shows 1 of 2 machines of c."),
        (
            [("m6i.large", "us-east-1a"), ("g6.xlarge", "us-east-1b")],
            "The machines of c are not all of one kind: g6.xlarge in us-east-1b; m6i.large in us-east-1a.",
        ),
    ],
)
def test_machines_of_different_kinds_are_not_called_too_few(machines: list[tuple[str, str]], message: str) -> None:
    adoption: Any = importlib.import_module("cvl_ci.engine.worker.adoption")
    shown = [{"InstanceType": kind, "Placement": {"AvailabilityZone": zone}} for kind, zone in machines]
    with pytest.raises(adoption.exceptions.ClusterDoesNotExist) as caught:
        adoption._resources({}, shown, region="us-east-1", cluster="c", nodes=2)
    assert str(caught.value) == message
