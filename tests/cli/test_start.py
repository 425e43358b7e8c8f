"""`--help` and `plan` start at once: by the processor time of a start, and by the modules that they load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.starts import COMMANDS, ROOT, program, ratios

MOST = {"cvl-ci --help": 7.0, "cvl-ci plan digits_sgd train": 12.0}
"""More than twice the multiples of today, which docs/cli.md names: `script/bench start` measures them."""
LISTED = """
import sys
before = {*sys.modules}
from cvl_ci.cli.main import main
try:
    code = main()
except SystemExit as ended:
    code = ended.code
print("LOADED", *sorted({*sys.modules} - before), file=sys.stderr)
raise SystemExit(code)
"""
NETWORK = {"ssl", "http.client", "asyncio", "multiprocessing"}
OF_PLAN = {"yaml", "_yaml"}
"""The packages that `plan` loads: it reads the example's YAML."""


def loaded(*words: str) -> tuple[set[str], set[str]]:
    """Return the packages of other authors that a command loads, and all modules."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("LOADED ")]
    modules = set(line.split()[1:])
    packages = {name.partition(".")[0] for name in modules} - {*sys.stdlib_module_names, "cvl_ci"}
    namespaces = {"google"} if not any(name.startswith("google.") for name in modules) else set()
    of_cython = {name for name in packages if "cython" in name}  # the compiled part of yaml brings them along
    return packages - namespaces - of_cython, modules


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["queue", "--help"], ["status", "--help"]], ids=" ".join
)
def test_help_loads_no_package_and_no_network(words: list[str]) -> None:
    packages, modules = loaded(*words)
    assert packages == set()
    assert NETWORK.isdisjoint(modules)


def test_a_plan_loads_no_package_but_yaml() -> None:
    packages, modules = loaded("plan", "digits_sgd", "train")
    assert packages <= OF_PLAN
    assert {"asyncio", "multiprocessing"}.isdisjoint(modules)


def test_help_and_plan_start_at_once() -> None:
    measured = ratios({name: program(*words) for name, words in COMMANDS.items()}, rounds=3)
    assert measured.keys() == MOST.keys()
    assert all(measured[name] <= most for name, most in MOST.items()), measured


@pytest.mark.sky
def test_the_measure_sees_what_would_be_slow() -> None:
    slow = program("--help", first="import yaml, requests, sky")
    assert ratios({"slow": slow}, rounds=1)["slow"] > max(MOST.values())
