"""How long a sweep takes on an account with many machines: ours found, decided on and ended; moto's share told apart.

    .venv/bin/python -m tests.bench.reap 2500 5000 10000

Seconds are of the processor, which a busy machine does not stretch. It fails when each machine takes more time among
many than among few.

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

from cvl_ci.clouds import ec2_clients
from cvl_ci.commands.reap.reap import Reaped
from tests.engine.test_reap_on_moto import REGION, over, reaped, running, start

IMAGE = "ami-12c6146b"


WORSE_THAN_LINEAR = 1.5
"""So many times as long for each, at the largest count as at the smallest, is more than noise."""


def main(counts: list[int]) -> int:
    print(f"{'ours':>7} {'others':>7} {'sweep: s':>9} {'of it moto ending: s':>21} {'each: ms':>9} {'made: s':>8}")
    each = [(measure(ours=count, others=0), measure(ours=3, others=count)) for count in sorted(counts)]
    grown = [last / first for first, last in zip(each[0], each[-1], strict=True)]
    print(
        f"\neach takes {grown[0]:.2f} times as long among {max(counts)} as among {min(counts)}, others {grown[1]:.2f}"
    )
    return int(max(grown) > WORSE_THAN_LINEAR)


def measure(*, ours: int, others: int) -> float:
    """Milliseconds for each machine there is, without what moto takes to end it."""
    with mock_aws():
        made = timed(lambda: make(others, {"Name": "somebody's"})) + timed(lambda: make(ours, over()))
        client = ec2_clients(access_key_id="testing", secret_access_key="testing")
        check(reaped(client, dry_run=True), ours)
        assert len(running(client)) == ours + others
        with ending_timed() as ending:
            whole = timed(lambda: check(reaped(client), ours))
        assert len(running(client)) == others
    each = 1000 * (whole - sum(ending)) / (ours + others)
    print(f"{ours:>7} {others:>7} {whole:>9.1f} {sum(ending):>21.1f} {each:>9.2f} {made:>8.1f}", flush=True)
    return each


def check(done: Reaped, ours: int) -> None:
    assert done.proved
    assert sum(len(suspect.resources) for suspect in done.due) == ours


def timed(what: Callable[[], object]) -> float:
    start = time.process_time()
    what()
    return time.process_time() - start


def make(count: int, labels: Mapping[str, str]) -> None:
    """With moto's two slowest looks cut short: how it came to its machines is not measured."""
    backend = ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
    image, ticks, tags = backend.describe_images(ami_ids=[IMAGE]), backend.describe_images, TaggedEC2Resource.get_tags
    backend.describe_images = lambda *_, **__: image
    TaggedEC2Resource.get_tags = lambda self: [
        {"key": key, "value": value, "resource_id": self.id, "resource_type": ""}
        for key, value in backend.tags.get(self.id, {}).items()
    ]
    clients = ec2_clients(access_key_id="testing", secret_access_key="testing")
    for begun in range(0, count, 500):
        start(clients, min(500, count - begun), labels)
    TaggedEC2Resource.get_tags = tags
    backend.describe_images = ticks


@contextmanager
def ending_timed() -> Iterator[list[float]]:
    backend, seconds = ec2_backends[DEFAULT_ACCOUNT_ID][REGION], list[float]()
    end = backend.terminate_instances

    def terminate_instances(ids: list[str]) -> Any:
        start = time.process_time()
        try:
            return end(ids)
        finally:
            seconds.append(time.process_time() - start)

    backend.terminate_instances = terminate_instances
    yield seconds


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]] or [500, 1_000, 2_000]))
