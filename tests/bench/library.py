"""The library's snippets on the sandbox, with the real SkyPilot: those of docs/library.md, and the earlier runner's.

    script/bench library

Two of the runs go on at the same time, from two threads of one process. The program fails where a result is not as the
snippet says, or where the provider shows a machine at the end.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvl_ci import wiring
from cvl_ci.runner import SkyPilotRunner
from cvl_ci.sandbox import Sandbox
from tests.e2e.cloud import environment
from tests.support.field import plant

FILES = {
    "train.py": "import os, pathlib, sys\nprint('rank', os.environ['SKYPILOT_NODE_RANK'], *sys.argv[1:])\n"
    "text = pathlib.Path('clean.txt')\nprint('text', text.read_text() if text.exists() else 'none')\n",
    "preprocess.py": "import pathlib\npathlib.Path('clean.txt').write_text('clean')\n",
    "torchrun": '#!/bin/sh\nshift\nexec python3 "$@"\n',
    "my-task.yaml": "resources: {cpus: 2+, use_spot: true}\nrun: echo the task on $(hostname)\n",
    "data/a.txt": "of the file mounts\n",
    "examples/hello/example.yaml": "name: hello\nresources: {gpu: 0}\n"
    "presets:\n  train: {script: t.sh, docker: false}\n",
    "examples/hello/t.sh": "echo hello from the example\n",
    "examples/hello/train.py": "print('a script of the earlier runner')\n",
}
TORCHRUN = "sudo install -m 755 torchrun /usr/local/bin/torchrun"
"""The sandbox's machine has no torch. This stand-in starts the program once on each node."""


class Snippets:
    """The snippets. Each has a runner of its own, whose lines it reads."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._checkout = plant(place / "work", FILES)

    def run(self) -> None:
        for name, snippet in {
            "echo hello on a T4 of spot, next to torchrun on two nodes": self.at_once,
            "run_from_yaml": self.task_file,
            "a queue with depends_on": self.jobs,
            "the earlier runner's run, each argument in its place": self.earlier_run,
            "the earlier runner's run_example": self.earlier_example,
            "await runner.arun, whose job fails with 3": self.awaited,
        }.items():
            began = time.monotonic()
            snippet()
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)

    def at_once(self) -> None:
        failed: list[BaseException] = []

        def carry_out(snippet: Callable[[], None]) -> None:
            try:
                snippet()
            except BaseException as error:  # noqa: BLE001  told by the thread that waits
                failed.append(error)

        threads = [threading.Thread(target=carry_out, args=[one]) for one in (self.spot, self.two_nodes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def spot(self) -> None:
        runner, heard = self._runner()
        assert runner.run(command="echo hello", gpu="T4:1", use_spot=True, down=True) == 0
        assert "hello" in heard, heard

    def two_nodes(self) -> None:
        runner, heard = self._runner(setup=TORCHRUN)
        result = runner.run(command="torchrun --nproc_per_node=8 train.py", gpu="A100:8", num_nodes=2)
        assert result == 0
        assert result.release is not None and result.release.gone
        assert {rank for rank in "01" for line in heard if f"rank {rank}" in line} == {"0", "1"}, heard

    def task_file(self) -> None:
        runner, heard = self._runner()
        assert runner.run_from_yaml("my-task.yaml") == 0
        assert [line for line in heard if line.startswith("the task on")], heard

    def jobs(self) -> None:
        runner, _ = self._runner(gpu="none")
        result = runner.queue([{"command": "python3 preprocess.py"}, {"command": "python3 train.py", "depends_on": 0}])
        assert result == 0, result

    def earlier_run(self) -> None:
        runner, heard = self._runner()
        command, mounts = "cat /tmp/data/a.txt; echo $EPOCHS; cat ~/set-up", {"/tmp/data": "./data"}
        result = runner.run(
            command, ".", "T4:1", "sandbox", "us-east-1", True, "my-cluster", 10, True,
            {"EPOCHS": "3"}, mounts, "echo is set up > ~/set-up",
        )  # fmt: skip
        assert result == 0
        assert [line for line in heard if line.strip()][-3:] == ["of the file mounts", "3", "is set up"], heard

    def earlier_example(self) -> None:
        runner, heard = self._runner(gpu="none")
        assert runner.run_example("examples/hello", script="train.py") == 0
        assert "a script of the earlier runner" in heard, heard

    def awaited(self) -> None:
        runner, _ = self._runner(gpu="none")
        assert asyncio.run(runner.arun(command="exit 3")) == 3

    def _runner(self, **inputs: Any) -> tuple[SkyPilotRunner, list[str]]:
        heard: list[str] = []
        place = self._place / "outputs"
        runner = SkyPilotRunner(checkout=self._checkout, outputs=place, cloud="sandbox", on_line=heard.append, **inputs)
        return runner, heard


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cvl-ci-library-") as folder:
        place = Path(folder)
        os.environ["HOME"], os.environ["CVL_CI_SANDBOX_DIR"] = str(place), str(place / "sandbox")
        sandbox = Sandbox(
            place / "sandbox", machine_types=wiring.machine_types(), environment=environment(), progress=print
        )
        try:
            sandbox.up()
            Snippets(place).run()
            left = [one.id for one in sandbox.status().instances if one.state != "terminated"]
        finally:
            sandbox.down()
    print(f"{len(left)} machines left")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
