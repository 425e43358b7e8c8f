"""A job that runs more than once, by a real bash: fresh copies, trials, and what each of them wrote kept apart."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.engine.fetch.unpack import unpack
from cvl_ci.engine.job_log import JobLog
from cvl_ci.engine.sky_errors import read_end
from cvl_ci.engine.task import script
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.plan import BASE_FOLDER, PairedBase, RunPlan, WorkPlan
from cvl_ci.planning.trials import order
from tests.engine.task.test_script import LEASE, Node

PLAN = RunPlan(
    title="t", work=WorkPlan(directory="ex", run_commands=("cat version; [ ! -e out ] && cat version > out; pwd",))
)
BOTH = replace(
    PLAN,
    trials=replace(
        PLAN.trials,
        repeat=4,
        base=PairedBase(
            ref="main", commit="c" * 40, directory="ex", setup_commands=(), run_commands=PLAN.work.run_commands
        ),
    ),
)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path / "node")
    for root, version in ((node.workdir, "head"), (node.workdir / BASE_FOLDER, "base")):
        (root / "ex").mkdir(parents=True)
        (root / "ex" / "version").write_text(f"{version}\n")
    return node


def told(node: Node) -> NodeEnd:
    said = subprocess.run(
        ["sh", "-c", script.end(lease=LEASE)], env={"HOME": str(node.home)}, capture_output=True, text=True, check=False
    )
    return read_end(0, said.stdout)


def fetched(node: Node, tmp_path: Path) -> dict[str, str]:
    node.collect(directory="ex")
    (tmp_path / "packed").mkdir()
    (node.state / "fetch").rename(tmp_path / "packed" / "0")
    into = tmp_path / "out"
    files = unpack(tmp_path / "packed", into=into, directory="ex").files
    return {file.path: (into / file.path).read_text().strip() for file in files}


def test_each_trial_has_a_fresh_copy_and_what_it_wrote_is_kept_apart(node: Node, tmp_path: Path) -> None:
    done = node.job(
        replace(
            PLAN,
            trials=replace(PLAN.trials, repeat=3),
            work=replace(PLAN.work, setup_commands=("echo set up; touch made",)),
        )
    )
    assert done.returncode == 0, done.stderr
    assert "set up" not in done.stdout, "once, before all trials"
    end = told(node)
    assert end.exit_code == 0
    assert [name for name, _ in end.trials] == ["sample-1", "sample-2", "sample-3"]
    assert all(0 < seconds < 60 for _, seconds in end.trials)
    assert fetched(node, tmp_path) == {f"sample-{trial}/out": "head" for trial in (1, 2, 3)}
    assert sorted(path.name for path in (node.workdir / "ex").iterdir()) == ["made", "version"]


def test_the_trials_of_two_sides_have_their_order(node: Node, tmp_path: Path) -> None:
    done = node.job(BOTH)
    assert done.returncode == 0, done.stderr
    trials = [trial.name for trial in order(BOTH, seed=LEASE)]
    assert [name for name, _ in told(node).trials] == trials
    assert [line for line in done.stdout.splitlines() if line in {"head", "base"}] == [
        name.split("-")[0] for name in trials
    ]
    wrote = fetched(node, tmp_path)
    assert wrote == {f"{side}-{trial}/out": side for side in ("head", "base") for trial in (1, 2, 3, 4)}
    assert not (node.workdir / BASE_FOLDER).exists()


def test_the_order_is_thrown_by_the_lease_in_pairs_and_can_be_told_again() -> None:
    many = replace(BOTH, trials=replace(BOTH.trials, repeat=100))
    orders = [order(many, seed=f"cvl-{seed}") for seed in range(20)]
    assert orders[0] == order(many, seed="cvl-0")
    for trials in orders:
        for one, other in zip(trials[::2], trials[1::2], strict=True):
            assert {one.side, other.side} == {"head", "base"} and one.number == other.number
    first = sum(trial.side == "head" for trials in orders for trial in trials[::2])
    assert 900 < first < 1100, "of 2,000 pairs about half begin with either"


def test_a_base_that_fails_is_told_and_the_head_goes_on(node: Node) -> None:
    (node.workdir / BASE_FOLDER / "ex" / "version").unlink()
    broken = replace(BOTH.trials.base, run_commands=("cat version || exit 9",)) if BOTH.trials.base else None
    done = node.job(replace(BOTH, trials=replace(BOTH.trials, base=broken)))
    end = told(node)
    assert (done.returncode, end.exit_code, end.base_exit_code) == (0, 0, 9)
    assert [name.split("-")[0] for name, _ in end.trials] == ["head"] * 4


def test_a_head_that_fails_ends_it_with_its_own_code(node: Node) -> None:
    done = node.job(replace(BOTH, work=replace(BOTH.work, run_commands=("exit 7",))))
    assert (done.returncode, told(node).exit_code, told(node).base_exit_code) == (7, 7, None)


def test_each_side_is_set_up_in_its_trials_with_its_own_words(node: Node) -> None:
    against = PairedBase(
        ref="main",
        commit="c" * 40,
        directory="ex",
        setup_commands=("echo base set up; echo x > made",),
        run_commands=("cat made; echo $WORD",),
        env={"WORD": "it's two"},
    )
    plan = replace(
        BOTH, trials=replace(BOTH.trials, repeat=1, base=against), work=replace(BOTH.work, setup_commands=("exit 0",))
    )
    assert script.setup(plan) is None
    said = node.job(plan, WORD="one").stdout.splitlines()
    assert [line for line in said if line in {"base set up", "x", "it's two", "one"}] == [
        "base set up",
        "x",
        "it's two",
    ]


def test_the_time_limit_covers_all_trials(node: Node) -> None:
    slow = replace(
        BOTH,
        work=replace(BOTH.work, run_commands=("sleep 1.2",)),
        limits=replace(PLAN.limits, max_runtime_minutes=2 / 60),
    )
    done = node.job(slow)
    assert done.returncode != 0
    assert node.end()["timed_out"] == "1"


def test_the_word_that_begins_a_trial_is_not_the_jobs(node: Node) -> None:
    log = JobLog(num_nodes=1)
    said = [line for line in node.job(BOTH).stdout.splitlines() if line.startswith("cvl-ci: trial")]
    assert len(said) == 8
    read = [log.read(f"(task, pid=1) {line}")[1:] for line in said]
    assert read == [(None, line.removeprefix("cvl-ci: ")) for line in said]
    line = "cvl-ci: trial 1 of 8: head-1; rm"
    assert log.read(f"(task, pid=1) {line}")[1] == line


def test_what_a_machine_says_of_trials_is_believed_only_as_far_as_it_makes_sense() -> None:
    hostile = ("../x 1", "head-0 1", "head-2 -1", "base-1 ٣", "", "base-2 1e9", "base-3")
    said = ["sample=head-1 1500000000", *(f"sample={word}" for word in hostile)]
    assert read_end(0, "\n".join(said)).trials == (("head-1", 1.5),)
    assert len(read_end(0, "sample=head-1 1\n" * 100_000).trials) < 300
