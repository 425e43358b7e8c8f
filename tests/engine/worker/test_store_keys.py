"""A machine gets the keys of a store only where its run mounts that store: SkyPilot's own list of files to copy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import sky_process
from tests.support.hub import TOKEN, Hub

pytestmark = pytest.mark.sky

PROGRAM = """
import json, os, sys
from pathlib import Path
import sky, sky.check
from sky.adaptors import huggingface
from cvl_ci.engine.worker import store_keys
for task in json.loads(os.environ["TASKS"]):
    if task is not None:
        store_keys.limit(task, folder=Path(os.environ["FOLDER"]))
    copied = sky.check.get_cloud_credential_file_mounts(None)
    files = {to: Path(at).expanduser().read_text() for to, at in copied.items()}
    print("ANSWER", json.dumps([files, huggingface.get_token()]))
"""
KEYS = {".cloudflare/accountid": "account", ".cloudflare/r2.credentials": "[r2]\nkey = r2-key\n"}
JOBS_OWN = "hf_the_job_s_own_secret"


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.close()


def copied(home: Path, *tasks: Any, hub: str) -> list[tuple[dict[str, str], str | None]]:
    """Return for each launch, in one process: the files that SkyPilot copies, and the token with which it reads."""
    for path, text in KEYS.items():
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(text)
    (home / "private").mkdir()
    env = {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        "HF_ENDPOINT": hub,
        "HF_TOKEN": TOKEN,
        "TASKS": json.dumps(tasks),
        "FOLDER": str(home / "private"),
    }
    done = sky_process.run(PROGRAM, env=env)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(lines) == len(tasks), done.stdout + done.stderr
    return [json.loads(line.removeprefix("ANSWER ")) for line in lines]


def test_a_machine_gets_the_keys_of_the_stores_that_it_mounts_and_of_no_other(tmp_path: Path, hub: Hub) -> None:
    """Without our limit, SkyPilot asks the hub, and copies the runner's token and the keys of R2."""
    r2: list[Any] = ["r2://bucket/p", {"source": "r2://bucket", "mode": "MOUNT"}, {"name": "own", "store": "r2"}]
    secrets = {"HF_TOKEN": JOBS_OWN}
    tasks = [
        None,
        {"file_mounts": {"/data": "s3://bucket/r2/hf", "/here": "folder"}, "secrets": secrets},
        *({"file_mounts": {"/data": entry}} for entry in r2),
        {"file_mounts": None},
        {"file_mounts": {"/m": "hf://acme/tiny"}},
        *[{"file_mounts": {"/m": "hf://acme/tiny"}, "secrets": secrets}] * 2,
        {},
    ]
    (unlimited, token), *limited = copied(tmp_path, *tasks, hub=hub.endpoint)
    of_r2 = {f"~/{path}": text for path, text in KEYS.items()}
    assert (unlimited, token) == ({**of_r2, "~/.cache/huggingface/token": TOKEN}, TOKEN)
    assert hub.requests == ["GET /api/whoami-v2"], "after it, SkyPilot asks the hub no more"
    of_hub = {"~/.cache/huggingface/token": JOBS_OWN}
    assert [files for files, _ in limited] == [{}, of_r2, of_r2, of_r2, {}, {}, of_hub, of_hub, {}]
    assert [token for _, token in limited] == [JOBS_OWN, *[None] * 5, JOBS_OWN, JOBS_OWN, None]
    [file] = (tmp_path / "private").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
