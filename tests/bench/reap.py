"""How long a sweep takes on an account with many machines: ours found, decided on and ended; moto's share told apart.

    .venv/bin/python -m tests.bench.reap 1000 2000 4000 10000

moto looks through all of an account's machines for each one that it makes or ends, and through all of its tags for each
whose tags it shows: its own share grows with the square of their number, and is no part of what a cloud would take.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.core import TaggedEC2Resource

from cvl_ci.engine.inventory import ec2_clients
from tests.engine.test_reap_on_moto import REGION, over, reaped, running, start

IMAGE = "ami-12c6146b"


def main(counts: list[int]) -> int:
    print(f"{'machines':>9} {'ours: s':>9} {'ending in moto: s':>18} {'made in moto: s':>16}")
    for count in counts:
        with mock_aws():
            made = timed(lambda: make(count))  # noqa: B023
            client = ec2_clients(access_key_id="testing", secret_access_key="testing")
            with ending_timed() as ending:
                whole = timed(lambda: check(reaped(client), count))  # noqa: B023
            assert not running(client)
        print(f"{count:>9} {whole - sum(ending):>9.1f} {sum(ending):>18.1f} {made:>16.1f}", flush=True)
    return 0


def check(done: Any, count: int) -> None:
    assert done.proved
    assert sum(len(suspect.resources) for suspect in done.due) == count


def timed(what: Callable[[], object]) -> float:
    start = time.monotonic()
    what()
    return time.monotonic() - start


def make(count: int) -> None:
    """With moto's two slowest looks cut short: how it came to its machines is not measured."""
    backend = ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
    image, tags, looks = backend.describe_images(ami_ids=[IMAGE]), TaggedEC2Resource.get_tags, backend.describe_images
    backend.describe_images = lambda *_, **__: image
    TaggedEC2Resource.get_tags = lambda self: [
        {"key": key, "value": value, "resource_id": self.id, "resource_type": ""}
        for key, value in backend.tags.get(self.id, {}).items()
    ]
    clients = ec2_clients(access_key_id="testing", secret_access_key="testing")
    for _ in range(0, count, 500):
        start(clients, 500, over())
    TaggedEC2Resource.get_tags = tags
    backend.describe_images = looks


@contextmanager
def ending_timed() -> Iterator[list[float]]:
    backend, seconds = ec2_backends[DEFAULT_ACCOUNT_ID][REGION], list[float]()
    end = backend.terminate_instances

    def terminate_instances(ids: list[str]) -> Any:
        start = time.monotonic()
        try:
            return end(ids)
        finally:
            seconds.append(time.monotonic() - start)

    backend.terminate_instances = terminate_instances
    yield seconds


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]] or [1_000]))
