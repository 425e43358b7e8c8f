"""A node that must stop in the middle of an upload ends that upload: unfinished parts are billed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests import golden
from tests.support import s3

MESSAGES = golden.Messages(__name__)

ROOT = Path(__file__).parents[3]
COMMIT = "c" * 40


@pytest.fixture
def slow_storage() -> Iterator[str]:
    """Yield the address of an S3 that takes a second for each part."""
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "partNumber=" in environ.get("QUERY_STRING", ""):
            time.sleep(1)
        answer: Iterable[bytes] = moto(environ, start_response)
        return answer

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    s3.client(endpoint).create_bucket(Bucket="stopped")
    yield endpoint
    s3.client(endpoint).delete_bucket(Bucket="stopped")
    server.shutdown()


def test_a_stopped_node_leaves_no_unfinished_upload(slow_storage: str, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 40
    blob = hashlib.sha256(content).hexdigest()
    root = tmp_path / "hub/models--acme--tiny"
    (root / "blobs").mkdir(parents=True)
    (root / "blobs" / blob).write_bytes(content)
    (root / "snapshots" / COMMIT).mkdir(parents=True)
    (root / "snapshots" / COMMIT / "model.bin").symlink_to(f"../../blobs/{blob}")
    request = {"bucket": "stopped", "prefix": "hub", "names": [], "work": "w", "exact": "e"}
    store = subprocess.Popen(
        [sys.executable, "-m", "cvl_ci.engine.machine.models_store", str(tmp_path)],
        cwd=ROOT,
        env={
            **os.environ,
            **s3.s3_environment(slow_storage),
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "CVL_CI_MODELS": json.dumps(request),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    client = s3.client(slow_storage)
    while not client.list_multipart_uploads(Bucket="stopped").get("Uploads"):
        assert store.poll() is None
        time.sleep(0.05)

    store.send_signal(signal.SIGTERM)
    output, _ = store.communicate(timeout=60)

    assert store.returncode == 124
    MESSAGES.check("stopped", golden.line(output, "was stopped"))
    assert client.list_multipart_uploads(Bucket="stopped").get("Uploads", []) == []
    assert client.list_objects_v2(Bucket="stopped").get("Contents", []) == []
