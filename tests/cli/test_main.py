"""The command line as a process: what it says, where, and the code it ends with; nothing here needs a cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cvl_ci.cli.stopping import Stopping
from tests import golden
from tests.github.runner import Runner
from tests.support import fork_server

MESSAGES = golden.Messages(__name__)

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "cvl-ci"

WATCHED = """
import runpy, sys
def watch(event, arguments):
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
        print("SOCKET", event, arguments, file=sys.stderr)
sys.addaudithook(watch)
sys.argv = ["cvl-ci", *sys.argv[1:]]
from cvl_ci.cli.main import main
try:
    code = main()
except SystemExit as ended:
    code = ended.code
late = {"sky", "boto3", "botocore", "moto", "docker", "requests", "github", "msgspec", "typing_extensions"}
heavy = sorted({name.partition(".")[0] for name in sys.modules} & late)
print("LOADED", heavy, file=sys.stderr)
raise SystemExit(code)
"""


def cvl_ci(*words: str, cwd: Path = ROOT, home: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home or os.environ["HOME"]), **more}
    return fork_server.run("tests.support.command_line", *words, env=env, folder=cwd)


def test_the_installed_program_is_this_one() -> None:
    words, environment = [str(PROGRAM), "run", "--help"], {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    installed = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    here = cvl_ci("run", "--help")
    assert (installed.returncode, installed.stdout, installed.stderr) == (0, here.stdout, here.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["plan", "--help"],
        ["sandbox", "--help"],
        ["plan", "digits_sgd", "train"],
        ["run", "digits_sgd", "train", "--cloud", "aws", "--estimate-cost"],
        ["matrix", "--clouds", "aws"],
        ["report", "--help"],
        ["prices", "H100:8"],
    ],
    ids=" ".join,
)
def test_help_and_plan_load_no_cloud_and_open_no_socket(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stderr
    assert "SOCKET" not in done.stderr


WRONG = {
    "unknown example": (["run", "digits_sdg", "train"], ["digits_sdg", "digits-sgd"]),
    "unknown preset": (["run", "digits_sgd", "trian"], ["trian", "train"]),
    "unknown gpu": (["run", "digits_sgd", "train", "--gpu", "H1000"], ["--gpu", "H1000", "H100"]),
    "unknown cloud": (["run", "digits_sgd", "train", "--cloud", "asw"], ["--cloud", "asw", "aws"]),
    "no nodes": (["run", "digits_sgd", "train", "--num-nodes", "0"], ["--num-nodes", "'0'"]),
    "cheap": (["run", "digits_sgd", "train", "--max-cost", "cheap"], ["--max-cost", "cheap"]),
    "outside": (["run", "../../etc", "train"], ["../../etc", "outside"]),
    "nothing": (["run"], ["example"]),
    "no drill": (["drill", "--cloud", "sandbox"], ["--phase", "--kill", "--all"]),
    "no such death": (["drill", "--kill", "sigkil"], ["--kill", "sigkil", "SIGKILL"]),
    "a death not to be had": (
        ["drill", "--cloud", "sandbox", "--phase", "setup", "--kill", "api-server"],
        ["--kill", "api-server", "no API server"],
    ),
    "drills on two clouds": (
        ["drill", "--cloud", "aws,gcp", "--phase", "setup", "--kill", "SIGTERM"],
        ["--cloud", "aws,gcp", "not one cloud"],
    ),
    "unknown gpu of prices": (["prices", "H1OO"], ["H1OO", "Did you mean H100?"]),
    "no gpu of prices": (["prices"], ["GPU", "is missing"]),
    "a count without a price": (["prices", "T4:7"], ["T4:7", "has no price", "1 × T4 on"]),
    "a catalogue that is not there": (
        ["prices", "H100", "--catalogue", "/nowhere"],
        ["--catalogue", "/nowhere", "is not there", "cvl-ci prices update --into /nowhere"],
    ),
    "catalogue of an unknown cloud": (["prices", "update", "asw"], ["asw", "aws"]),
    "unknown flag": (["run", "digits_sgd", "train", "--gpux", "L4"], ["--gpux", "--gpu"]),
}


@pytest.mark.parametrize(("words", "named"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_message_64_and_nothing_started(tmp_path: Path, words: list[str], named: list[str]) -> None:
    done = cvl_ci(*words, home=tmp_path / "new")
    assert done.returncode == 64, done.stderr
    assert done.stdout == ""
    assert all(word in done.stderr for word in named), done.stderr
    assert "Traceback" not in done.stderr
    assert "Nothing was started" in done.stderr
    assert not (tmp_path / "new").exists(), "not even a directory"


def test_a_command_of_a_missing_file_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    done = cvl_ci("run", "--command", "python trian.py", "--cloud", "sandbox", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 64
    assert "Did you mean train.py?" in done.stderr and "Nothing was started" in done.stderr
    assert not (tmp_path / ".cvl-ci/leases").exists()


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    words = ["--gpu", "H1000", "--cloud", "asw", "--num-nodes", "0", "--max-cost", "cheap", "--spot=perhaps"]
    done = cvl_ci("run", "digits_sdg", "train", *words, home=tmp_path)
    assert done.returncode == 64
    assert "6 inputs are wrong" in done.stderr
    for name in ("digits_sdg", "--gpu", "--cloud", "--num-nodes", "--max-cost", "--spot"):
        assert name in done.stderr


def _bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize("content", [_bomb(), bytes(range(256)) * 40, b"- a\n- list\n", b"name: [unclosed\n", b""])
def test_a_hostile_example_yaml_is_one_message(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "repository" / "examples" / "odd"
    folder.mkdir(parents=True)
    (folder / "example.yaml").write_bytes(content)
    (folder / "train.sh").write_text("echo\n")
    done = cvl_ci("run", "examples/odd", "train", cwd=tmp_path / "repository", home=tmp_path)
    assert done.returncode == 64, done.stderr
    assert "example.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_stand_in_any_position() -> None:
    first = cvl_ci("plan", "--cloud", "sandbox", "digits_sgd", "train", "--json")
    last = cvl_ci("plan", "digits_sgd", "train", "--json", "--cloud", "sandbox")
    assert first.returncode == 0, first.stderr
    assert first.stdout == last.stdout


def test_a_mistake_of_ours_is_a_sentence_and_a_file_and_no_traceback(tmp_path: Path) -> None:
    """HOME is no directory: nothing can be written down, so nothing may be started."""
    (tmp_path / "file").write_text("a file")
    done = cvl_ci("run", "digits_sgd", "train", "--cloud", "aws", home=tmp_path / "file")
    assert done.returncode in (70, 77), done.stderr
    assert "Traceback" not in done.stderr


def test_down_without_a_name_asks_for_one(tmp_path: Path) -> None:
    done = cvl_ci("down", home=tmp_path)
    assert done.returncode == 64
    assert "--all" in done.stderr


def test_down_of_an_unknown_lease_says_where_to_look(tmp_path: Path) -> None:
    done = cvl_ci("down", "cvl-1-nothere", home=tmp_path)
    assert done.returncode == 64
    assert "cvl-1-nothere" in done.stderr and "--cloud" in done.stderr


def test_down_all_with_nothing_left_says_so(tmp_path: Path) -> None:
    done = cvl_ci("down", "--all", home=tmp_path)
    assert done.returncode == 0, done.stderr
    MESSAGES.check("no lease", golden.sentence(done.stdout, "show no lease"))
    assert "cvl-ci asked no cloud" in done.stdout, "nothing is claimed of a cloud that nobody asked"


def test_a_second_ctrl_c_ends_the_wait_for_outputs_and_no_third_one_stops_the_release() -> None:
    said: list[str] = []
    stopping = Stopping(said.append)
    with stopping:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), stopping.again():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    MESSAGES.check("a third Ctrl-C", said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_the_program_otherwise_does_not_wait_for_outputs(number: signal.Signals) -> None:
    stopping = Stopping(lambda _: None)
    with stopping:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt), stopping.again():
            pytest.fail("it waits")


SECRET = "hunter-2/with+signs&more"


def secrets_of(text: str) -> list[str]:
    return [form for form in (SECRET, quote(SECRET, safe=""), repr(SECRET)[1:-1], SECRET[:12]) if form in text]


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["plan", "digits_sgd", "train", "--cloud", "sandbox", "--env", f"GH_PAT2={SECRET}"], {}),
        (["plan", "digits_sgd", "train", "--cloud", "sandbox", "--env", f"GH_PAT2={SECRET}", "--yaml"], {}),
        (["plan", "digits_sgd", "train", "--cloud", "sandbox", "--env", f"GH_PAT2={SECRET}", "--json"], {}),
        (["plan", "--command", f"curl -u me:{SECRET} x", "--cloud", "sandbox"], {"DEPLOY_KEY": SECRET}),
        (["run", "digits_sgd", "train", "--gpu", SECRET, "--cloud", "x" * 70 + SECRET], {"MY_TOKEN": SECRET}),
        (["down", SECRET], {"MY_TOKEN": SECRET}),
        (["report", f"/nowhere/{SECRET}"], {"MY_TOKEN": SECRET}),
    ],
)
def test_no_word_of_the_command_line_shows_a_secret(tmp_path: Path, words: list[str], more: dict[str, Any]) -> None:
    done = cvl_ci(*words, home=tmp_path, **more)
    assert secrets_of(done.stdout + done.stderr) == []


@pytest.mark.parametrize("variable", ["GITHUB_ACTIONS", "TF_BUILD"])
@pytest.mark.parametrize("word", ["::error::x", "##[error]x", "x\n::stop-commands::y\n", "##vso[task.setvariable]x"])
def test_where_commands_are_obeyed_no_word_of_an_argument_is_one(tmp_path: Path, variable: str, word: str) -> None:
    obeying: dict[str, Any] = {variable: "true"}
    done = cvl_ci("run", word, "train", "--gpu", word, "--command", word, home=tmp_path, **obeying)
    assert Runner().read(done.stdout + "\n" + done.stderr).obeyed == []
    assert "##vso[" not in done.stdout + done.stderr


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_estimate_cost_prints_the_price_of_an_hour_and_starts_nothing(verb: str, tmp_path: Path) -> None:
    words = ("--gpu", "L4:1", "--cloud", "aws/us-east-1", "--use-spot", "--max-runtime", "2h")
    done = cvl_ci(verb, "--command", "true", *words, "--estimate-cost", cwd=tmp_path, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first.startswith("Estimated cost: $") and first.endswith("/hr (AWS us-east-1 spot)")
    assert any(line.startswith("At most $") and "120 min for the job" in line for line in rest)
    assert not (tmp_path / "cvl-outputs").exists()
