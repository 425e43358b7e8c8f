"""A live machine takes further jobs: each in a fresh folder, with its own end, log, limit and outputs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvl_ci.lease import Lease
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.ports import Began, Cloud, Event, JobRequest, LaunchRequest, LeaseRecord, Line
from cvl_ci.wiring.clouds import OpenClouds
from tests.e2e.conftest import Terminal
from tests.support.fakes import FakeRecords

SANDBOX = (Location(cloud="sandbox"),)
FIRST = "echo first; echo 1 > first.txt; sudo -n sh -c 'echo root > owned-by-root.txt'"
SECOND = "echo second; ls; echo 2 > second.txt"
FAILING = "echo third; sleep 0.2; exit 7"
ENDLESS = "echo fourth; sleep 600"


def plan(command: str, *setup: str) -> RunPlan:
    return RunPlan(
        title="further",
        work=WorkPlan(setup_commands=setup, run_commands=(command,)),
        machines=MachinePlan(locations=SANDBOX),
        limits=Limits(max_runtime_minutes=5),
    )


class Watched:
    """The lines and phases of one job. `first_line_at`: when its first line came, in monotonic seconds."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.phases: list[str] = []
        self.first_line_at = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Line):
            self.first_line_at = self.first_line_at or time.monotonic()
            self.lines.append(event.text)
        elif isinstance(event, Began):
            self.phases.append(event.phase.value)


@contextmanager
def leased(cloud: Cloud, folder: Path, staged: Path) -> Iterator[LaunchRequest]:
    """Yield a request for a machine that ends, with proof, after the block."""
    owner, clock = Owner(repository="cvl/ci", run="further"), SystemClock()
    deadline = clock.now() + 1800
    labels = owner.labels(deadline=deadline)
    record = LeaseRecord(name=owner.name, labels=labels, deadline=deadline, locations=SANDBOX, taken_at=clock.now())
    records = FakeRecords(folder)
    lease = Lease(record, machines=cloud.machines, inventory=cloud.inventory, records=records, clock=clock, say=print)
    lease.acquire()
    try:
        yield LaunchRequest(
            plan=plan(FIRST), cluster=lease.name, labels=labels, staged=staged, deadline=deadline,
            fence=records.fence(lease.name),
        )  # fmt: skip
    finally:
        assert lease.release(maybe_created=True).gone


def test_a_live_machine_takes_one_job_after_the_other(terminal: Terminal, tmp_path: Path) -> None:
    staged, other = tmp_path / "staged", tmp_path / "other"
    for folder, name in ((staged, "only-first"), (other, "only-second")):
        folder.mkdir()
        (folder / name).write_text(name)
    watched = [Watched() for _ in range(4)]
    until = time.time() + 1500
    user_id = Owner(repository="cvl/ci", run="further").user_id
    with OpenClouds(terminal.environment).open(SANDBOX, user_id=user_id, watch=print) as cloud:
        jobs = cloud.jobs
        with leased(cloud, tmp_path, staged) as request:
            began = time.monotonic()
            cloud.machines.launch(request, watch=watched[0])
            ends = [jobs.follow(watch=watched[0], until=until)]
            by_launch = watched[0].first_line_at - began
            jobs.fetch(globs=())
            first = jobs.unpack(into=tmp_path / "first")

            began = time.monotonic()
            jobs.submit(JobRequest(plan=plan(SECOND, "echo preparing"), staged=other), watch=watched[1])
            ends.append(jobs.follow(watch=watched[1], until=until))
            by_submit = watched[1].first_line_at - began
            jobs.fetch(globs=())
            second = jobs.unpack(into=tmp_path / "second")

            jobs.submit(JobRequest(plan=plan(FAILING), staged=other), watch=watched[2])
            ends.append(jobs.follow(watch=watched[2], until=until))

            jobs.submit(JobRequest(plan=plan(ENDLESS), staged=other), watch=watched[3])
            jobs.cancel()
            ends.append(jobs.follow(watch=watched[3], until=until))
    print(f"first line after {by_launch:.1f} s of a launch, {by_submit:.1f} s of a submit")
    assert [[node.exit_code for node in end.nodes] for end in ends] == [[0], [0], [7], [None]]
    assert [end.lost for end in ends] == [None] * 4
    assert watched[1].lines == ["preparing", "second", "only-second"], "the files of the job before are not there"
    assert watched[1].phases == ["setup", "running"]
    assert {file.path for file in first.files} == {"first.txt", "owned-by-root.txt"}
    assert {file.path for file in second.files} == {"second.txt"}
    assert first.problem is None and second.problem is None
    assert by_submit < by_launch / 3, "a further job waits for no machine"
    assert terminal.machines() == []
