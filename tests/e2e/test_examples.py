"""The three examples, as the README tells a newcomer to run them."""

from __future__ import annotations

import json
import re

from cvl_ci.sandbox import Faults
from tests.e2e.conftest import Terminal
from tests.e2e.metering import assert_told_as_metered


def test_the_cpu_training_comes_back_with_metrics_and_checkpoint_and_proof(terminal: Terminal) -> None:
    ran = terminal.run("examples/tabular/digits_sgd", "train")
    assert ran.code == 0, ran.err
    assert "epoch 30/30" in ran.out
    assert "cvl-ci" not in ran.out, "stdout is the job's alone"
    summary = ran.summary
    assert summary["ending"] == "succeeded"
    assert summary["cloud"] == "sandbox"
    assert summary["instance_type"]
    assert summary["released"]["gone"] is True
    assert summary["released"]["asked"]
    assert summary["metrics"]["test_accuracy"] > 0.9
    assert 0 < summary["cost_usd"] < summary["estimated_usd"]
    assert set(summary["phases"]) >= {"staging", "provisioning", "running", "fetching", "releasing"}
    # `outputs/` is in the example's .gitignore: it comes back all the same.
    assert (ran.folder / "outputs" / "checkpoint.npz").stat().st_size > 1000
    assert json.loads((ran.folder / "outputs" / "metrics.json").read_text())
    assert terminal.machines() == []
    assert_told_as_metered(summary, terminal.sandbox, case="succeeded")


def test_docker_on_host_builds_and_runs_inside_the_machine_of_the_next_zone(terminal: Terminal) -> None:
    """Its first zone has no capacity: the run fails over to another zone of that region.

    The example starts its container itself, and knows nothing of mounts. Its container reads a file of a mount.
    """
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1a",)))
    terminal.cloud = "sandbox/us-east-1"
    mount = ("--mount", "/corpus=examples/text/docker_ngram")
    ran = terminal.run("examples/text/docker_ngram", "train", *mount, "--", "--text", "/corpus/alice.txt")
    assert ran.code == 0, ran.err + ran.out
    first, *_, last = ran.summary["attempts"]
    assert (first["zone"], last["error"], last["region"]) == ("us-east-1a", None, "us-east-1")
    assert "InsufficientInstanceCapacity" in first["error"]
    assert last["zone"] != "us-east-1a"
    assert "setup" in ran.summary["phases"], "the build is a phase of its own"
    assert any(path["path"].endswith("metrics.json") for path in ran.summary["files"])
    assert terminal.machines() == []
    assert_told_as_metered(ran.summary, terminal.sandbox, case="failover to another zone, succeeded")


def test_two_nodes_find_each_other_and_one_failing_rank_fails_the_run(terminal: Terminal) -> None:
    """Two nodes that succeed: test_storage.py."""
    ran = terminal.run("examples/distributed/two_node_allreduce", "fail_rank", "--num-nodes", "2")
    assert (ran.code, ran.summary["ending"]) == (7, "failed"), ran.err + ran.out
    for rank in (0, 1):  # after a step their gradients are averaged: they have found each other
        assert re.search(rf"\(rank {rank}\) \[rank {rank} of 2\] step \d", ran.out)
    assert "rank 1" in ran.summary["reason"]
    assert ran.summary["num_nodes"] == 2
    assert terminal.machines() == []
    assert_told_as_metered(ran.summary, terminal.sandbox, case="two machines, failed")
