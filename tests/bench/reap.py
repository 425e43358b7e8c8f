"""How long a sweep takes on an account with many machines: ours found, decided on and ended; moto's share told apart.

    .venv/bin/python -m tests.bench.reap 1000 2000 4000 10000

moto looks through all of an account's machines for each one that it makes or ends, and through all of its tags for each
whose tags it shows: its own share grows with the square of their number, and is no part of what a cloud would take.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.core import TaggedEC2Resource

from cvl_ci.commands.reap import Reaped
from cvl_ci.engine.inventory import ec2_clients
from tests.engine.test_reap_on_moto import REGION, over, reaped, running, start

IMAGE = "ami-12c6146b"


def main(counts: list[int]) -> int:
    print(f"{'ours':>7} {'others':>7} {'sweep: s':>9} {'of it moto ending: s':>21} {'made in moto: s':>16}")
    for count in counts:
        measure(ours=count, others=0)
        measure(ours=3, others=count)
    return 0


def measure(*, ours: int, others: int) -> None:
    with mock_aws():
        made = timed(lambda: make(others, {"Name": "somebody's"})) + timed(lambda: make(ours, over()))
        client = ec2_clients(access_key_id="testing", secret_access_key="testing")
        with ending_timed() as ending:
            whole = timed(lambda: check(reaped(client), ours))
        assert len(running(client)) == others
    print(f"{ours:>7} {others:>7} {whole:>9.1f} {sum(ending):>21.1f} {made:>16.1f}", flush=True)


def check(done: Reaped, ours: int) -> None:
    assert done.proved
    assert sum(len(suspect.resources) for suspect in done.due) == ours


def timed(what: Callable[[], object]) -> float:
    start = time.monotonic()
    what()
    return time.monotonic() - start


def make(count: int, labels: Mapping[str, str]) -> None:
    """With moto's two slowest looks cut short: how it came to its machines is not measured."""
    backend = ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
    image, looks, tags = backend.describe_images(ami_ids=[IMAGE]), backend.describe_images, TaggedEC2Resource.get_tags
    backend.describe_images = lambda *_, **__: image
    TaggedEC2Resource.get_tags = lambda self: [
        {"key": key, "value": value, "resource_id": self.id, "resource_type": ""}
        for key, value in backend.tags.get(self.id, {}).items()
    ]
    clients = ec2_clients(access_key_id="testing", secret_access_key="testing")
    for begun in range(0, count, 500):
        start(clients, min(500, count - begun), labels)
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
