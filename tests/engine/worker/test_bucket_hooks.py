"""A bucket is announced once for each request that makes it, however many launches one process had before."""

from __future__ import annotations

import json
import os

import pytest

from tests.support import sky_process

pytestmark = pytest.mark.sky

LAUNCHES = """
import json
from pathlib import Path
import botocore.session
from cvl_ci.engine.worker import bucket_hooks

told = []
def announce(number):
    labels = {"cvl-ci-lease": f"lease-{number}"}
    bucket_hooks.announce(
        lambda kind, **values: told.append([number, kind, values["name"]]),
        task={"resources": {"labels": labels}},
        fence=Path("/nowhere/at/all"),
    )

def make():
    events = botocore.session.Session().get_component("event_emitter")
    params, name = {"Bucket": "b"}, "provide-client-params.s3.CreateBucket"
    for _, answer in events.emit(name, params=params, model=None, context={}):
        params = params if answer is None else answer
    return [tag["Value"] for tag in params["CreateBucketConfiguration"]["Tags"]]

announce(1)
first = make()
announce(2)
announce(3)
print(json.dumps({"first": first, "last": make(), "told": told}))
"""


def test_a_bucket_of_a_later_launch_is_announced_once_and_has_that_launch_s_labels() -> None:
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    code = LAUNCHES
    done = sky_process.run(code, env=env, loaded=True)
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["first"] == ["lease-1", "true"]
    assert shown["last"] == ["lease-3", "true"]
    assert shown["told"] == [[1, "making_bucket", "b"], [3, "making_bucket", "b"]]
