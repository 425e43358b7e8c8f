"""Each example of ours does what its description says, as plain scripts on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ALL = sorted(path.parent.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("example.yaml"))
HERE = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}

RUNS = """
import os, runpy, sys
from sklearn import datasets, metrics, model_selection
for words in sys.argv[1:]:
    sys.stdout.flush()
    if os.fork() == 0:
        sys.argv = ["train.py", *words.split()]
        runpy.run_path("train.py", run_name="__main__")
        sys.stdout.flush()
        os._exit(0)
    if os.wait()[1]:
        sys.exit(words)
"""
"""Each run is a process of its own, without a load of its own: that takes ten times as long as the run."""


def copied(name: str, into: Path) -> Path:
    target = into / Path(name).name
    shutil.copytree(EXAMPLES / name, target, ignore=shutil.ignore_patterns("outputs", ".venv"))
    return target


def run(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**HERE, **env}, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.parametrize("name", ALL)
def test_an_example_says_what_the_field_says(name: str) -> None:
    example = yaml.safe_load((EXAMPLES / name / "example.yaml").read_text(encoding="utf-8"))
    expected = {
        "name",
        "capability",
        "resources",
        "presets",
        "description",
        "tags",
        "tasks",
        "frameworks",
        "verification",
    }
    assert expected <= set(example)
    assert example["resources"]["gpu"] == 0
    for preset in example["presets"].values():
        script = EXAMPLES / name / preset["script"].split()[0]
        assert os.access(script, os.X_OK), script
    json.dumps(example)


@pytest.mark.parametrize("name", ALL)
def test_an_example_keeps_its_outputs_out_of_git(name: str) -> None:
    assert "outputs/" in (EXAMPLES / name / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_digits_are_learned_and_a_resumed_run_ends_the_same(tmp_path: Path) -> None:
    folder = copied("tabular/digits_sgd", tmp_path)
    assert run(folder, "./train.sh").returncode == 0
    whole = (folder / "outputs/confusion.csv").read_text()
    assert json.loads((folder / "outputs/metrics.json").read_text())["test_accuracy"] > 0.95
    shutil.rmtree(folder / "outputs")
    done = run(folder, sys.executable, "-c", RUNS, "--epochs 10", "")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("from checkpoint.npz: epoch 10 is done") == 1
    assert (folder / "outputs/confusion.csv").read_text() == whole


def test_the_fail_preset_exits_7_and_leaves_a_file(tmp_path: Path) -> None:
    folder = copied("tabular/digits_sgd", tmp_path)
    assert run(folder, "./fail.sh").returncode == 7
    assert (folder / "outputs/before_the_failure.txt").exists()


def test_the_slow_preset_prints_as_it_goes(tmp_path: Path) -> None:
    folder = copied("tabular/digits_sgd", tmp_path)
    result = run(folder, "./slow.sh", "1")
    assert result.stdout == (folder / "outputs/progress.txt").read_text() == "second 1 of 1\n"


@pytest.mark.skipif(shutil.which("perl") is None, reason="no perl here: the image has it")
def test_the_n_gram_model_learns_and_writes_the_same_each_time(tmp_path: Path) -> None:
    folder = copied("text/docker_ngram", tmp_path)
    outputs = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        result = run(folder, "perl", "ngram.pl", "--text", "alice.txt", "--into", name)
        assert result.returncode == 0, result.stderr
        outputs.append((folder / name / "sample.txt").read_text())
    metrics = json.loads((folder / "first/metrics.json").read_text())
    by_order = list(metrics["bits_per_character_by_order"].values())
    assert by_order == sorted(by_order, reverse=True)
    assert metrics["bits_per_character"] < 2.5
    assert outputs[0] == outputs[1]


def test_two_ranks_end_with_the_same_weights(tmp_path: Path) -> None:
    codes, folders, text = two_ranks(tmp_path)
    assert codes == [0, 0], text
    metrics = json.loads((folders[0] / "outputs/metrics.json").read_text())
    assert metrics["same_weights_on_every_rank"] is True
    assert metrics["test_accuracy"] > 0.9
    assert not (folders[1] / "outputs/metrics.json").exists()
    ends = [(folder / f"outputs/rank-{rank}.txt").read_text()[-13:] for rank, folder in enumerate(folders)]
    assert ends[0] == ends[1]


def test_a_rank_that_fails_fails_the_other_one(tmp_path: Path) -> None:
    codes, _, text = two_ranks(tmp_path, "--fail-rank", "1")
    assert codes == [1, 7], text
    assert "another rank went away" in text[0]


def two_ranks(tmp_path: Path, *arguments: str) -> tuple[list[int], list[Path], list[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {**HERE, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    folders = [copied("distributed/two_node_allreduce", tmp_path / str(rank)) for rank in range(2)]
    ranks = [
        subprocess.Popen(
            ["./train.sh", *arguments], cwd=folder, env={**env, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank, folder in enumerate(folders)
    ]  # fmt: skip
    lines = [rank.communicate(timeout=60)[0] for rank in ranks]
    return [rank.returncode for rank in ranks], folders, lines
