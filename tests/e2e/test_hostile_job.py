"""A real machine whose job wants to do harm, run by the action: what arrives obeys nobody and tells no secret."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Terminal
from tests.github.runner import Runner, read_file
from tests.support.hostile import LINES, MARKDOWN, SECRET, as_read, spoken

FLOOD = 200_000
LONG = 3_000_000
SKYPILOT_ENDS = "ERROR: \x1b[31mJob 1 failed with return code list:"
FILES = ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
JOB = f"""\
import base64, json, os, pathlib, subprocess, sys, time, urllib.parse
said = pathlib.Path("said.bin").read_bytes()
secret = os.environ["HF_TOKEN"]
forms = [secret, urllib.parse.quote(secret, safe=""), json.dumps(secret), secret.encode().hex()]
forms += [base64.b64encode((before + secret).encode()).decode() for before in ("", "user:", "x ")]
for stream in (sys.stdout, sys.stderr):
    stream.buffer.write(said)
    stream.flush()
for number in range({FLOOD}):
    print("flood", number)
outputs = pathlib.Path("outputs")
outputs.mkdir()
names = json.loads(pathlib.Path("names").read_text())
(outputs / "metrics.json").write_text(json.dumps(dict.fromkeys(names, 1.5)))
for name in ("@mallory #1 `x`.txt", "::set-output name=a::b", "<img src=x>|", "##[error]no"):
    (outputs / name).write_text("x")
for form in forms:
    print("token=" + form)
print("long " + "y" * {LONG} + "::error::z")
time.sleep(1)  # whoever reads what is not theirs has time to
subprocess.Popen(["sleep", "987654"], start_new_session=True)
for number in range({FLOOD}):
    print("end", number)
sys.exit(7)
"""


def a_step(terminal: Terminal, folder: Path, *, unseen: str) -> dict[str, str]:
    said = "\n".join(line[:20_000] for line in LINES)
    (folder / "job.py").write_text(JOB)
    (folder / "said.bin").write_bytes(said.encode("utf-8", "surrogateescape") + b"\n")
    (folder / "names").write_text(json.dumps([*MARKDOWN, SECRET]))
    for name in FILES:
        (folder.parent / name).touch()
    return {
        **terminal.environment,
        **{name: str(folder.parent / name) for name in FILES},
        "GITHUB_REPOSITORY": "cvl/ci",
        "GITHUB_RUN_ID": "77",
        "GITHUB_JOB": "hostile",
        "GITHUB_EVENT_NAME": "push",
        "INPUT_COMMAND": "python3 job.py",
        "INPUT_WORKDIR": ".",
        "INPUT_OUTPUTS": "outputs/**",
        "INPUT_CLOUD": "sandbox",
        "INPUT_SECRETS": f"HF_TOKEN={SECRET}\nUNSEEN={unseen}",
        "INPUT_LEG": "null",
    }


class Spy(threading.Thread):
    """Another user of this computer, and of the machines on it, who looks at every process again and again."""

    def __init__(self, secret: str, *, allowed: Callable[[int, bytes], bool]) -> None:
        super().__init__(daemon=True)
        self._secret, self._allowed = secret.encode(), allowed
        self.ticks = 0
        self.jobs = 0
        """Processes whose environment may hold the secret, and did."""
        self.seen: set[str] = set()
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.ticks += 1
            for entry in Path("/proc").iterdir():
                with contextlib.suppress(OSError):
                    if entry.name.isdecimal():
                        self._read_process(int(entry.name))

    def _read_process(self, pid: int) -> None:
        folder = Path(f"/proc/{pid}")
        command, environ = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        shown = command.replace(b"\0", b" ")[:200].decode("utf-8", "replace")
        if self._secret in command:
            self.seen.add(f"arguments of {shown}")
        if self._secret in environ and self._allowed(pid, environ):
            self.jobs += 1
        elif self._secret in environ:
            self.seen.add(f"environment of {shown}")


def missing(kept: str) -> list[str]:
    """Lines of the flood that are neither in the log nor in it in two pieces, with what stands where they should be.

    Ray's log monitor reads what the worker writes while it writes: what it sees of a line half written it takes for a
    whole one, and the rest for the next (ray/_private/log_monitor.py, check_log_files_and_publish_updates). Measured:
    no line in 2.2 million, one line in a million at another time. Every byte is there; a line's end is one too many.
    And SkyPilot's own last word is printed while that monitor still prints: once it came between a line and its end.
    """
    lines = kept.split("\n")
    there = {line: at for at, line in enumerate(lines)}
    gone = []
    for number in range(FLOOD):
        line = f"flood {number}"
        at = there.get(f"flood {number - 1}", 0)
        following = lines[at + 1 : at + 3]
        whole = "".join(following) == line or "".join(following[:1]).startswith(f"{line}{SKYPILOT_ENDS}")
        if line not in there and not whole:
            gone.append(f"{number}: {lines[at : at + 4]}")
    return gone


def ends(kept: str) -> set[str]:
    """Lines of the second flood, also one that Ray cut in two."""
    lines = kept.split("\n")
    return {*lines, *(one + other for one, other in itertools.pairwise(lines))}


def test_nothing_a_hostile_job_does_on_a_real_machine_is_obeyed_or_tells_a_secret(
    terminal: Terminal, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    unseen = secrets.token_hex(16)
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "cvl_ci.action.main", "/entrypoint"],
        env=a_step(terminal, workspace, unseen=unseen),
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        # GitHub hands inputs to the step in its environment; on the machine the job's own processes have it.
        spy = Spy(unseen, allowed=lambda pid, has: pid == process.pid or b"CVL_CI_LEASE=" in has)
        spy.start()
        out = process.communicate(timeout=800)[0].decode("utf-8", "replace")
    spy.stop()
    assert process.returncode == 7, out[-3000:]
    assert spy.seen == set()
    assert spy.ticks > 100 and spy.jobs > 1
    assert terminal.machines() == []
    runner = Runner().read(out)
    assert {name for name, _, _ in runner.obeyed} <= {"add-mask", "group", "endgroup", "notice", "warning", "error"}
    assert runner.stopped_by == ""
    outputs = read_file((tmp_path / "GITHUB_OUTPUT").read_text())
    assert (outputs["ending"], outputs["exit_code"], outputs["released"]) == ("failed", "7", "true")
    [log] = workspace.glob("cvl-outputs/*.log")
    kept = log.read_text(encoding="utf-8")
    assert missing(kept) == []
    assert {f"end {number}" for number in range(FLOOD)} - ends(kept) == set()
    words = " ".join(out.split())
    assert "left 1 process running in the" in words and "the background (sleep)" in words
    assert kept.replace("\n", "").count("y" * LONG + "::error::z") == 1
    assert len(out) < len(kept) / 4, "the step shows the beginning, and counts the rest"
    places = {name: (tmp_path / name).read_text() for name in FILES}
    places |= {"log": kept, "step log": "\n".join(runner.log)}
    places |= {path.name: path.read_text() for path in workspace.glob("cvl-outputs/*.json")}
    for way, form in spoken(SECRET).items():
        for place, text in places.items():
            assert form[6:-6] not in as_read(text), f"{way} in {place}"
    assert "token=***" in kept
