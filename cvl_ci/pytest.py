"""The plugin of pytest: a test with the marker `cvl_gpu` runs on a cloud machine. Loading it loads nothing heavy.

@pytest.mark.cvl_gpu("L4:1", max_cost=1)
def test_kernel(): ...
"""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from cvl_ci.result.run_result import RunResult

MARKER = "cvl_gpu"
REPORT = "cvl-gpu-report.xml"
LARGEST_REPORT_BYTES = 16 << 20
INSTALL = "python -m pytest --version || python -m pip install --quiet pytest"
"""The setup without one in the marker: the machine needs pytest, and the test's own packages come with `setup`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option without which no machine is launched."""
    parser.getgroup("cvl-ci").addoption(
        "--cvl-gpu", action="store_true", help=f"run tests with the marker {MARKER} on cloud machines, which cost money"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", f"{MARKER}(gpu, **inputs): runs on a cloud machine, with --cvl-gpu")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip marked tests with the reason, or run them elsewhere: neither body nor fixtures run here."""
    for item in items:
        marker = item.get_closest_marker(MARKER)
        if marker is None:
            continue
        if not config.getoption("--cvl-gpu"):
            item.add_marker(pytest.mark.skip(reason="it runs on a cloud machine: give --cvl-gpu"))
        elif isinstance(item, pytest.Function):
            item.setup = lambda: None  # type: ignore[method-assign]
            item.runtest = partial(_run, item, marker)  # type: ignore[method-assign]


def _run(item: pytest.Function, marker: pytest.Mark) -> None:
    """Run one test on a machine, and end here as it ended there."""
    from cvl_ci.runner import SkyPilotRunner  # noqa: PLC0415

    inputs = {"setup": INSTALL, **marker.kwargs}
    if marker.args:
        inputs["gpu"] = marker.args[0]
    root = item.config.rootpath
    # The project's own options may name plugins that the machine does not have.
    words = ["python", "-m", "pytest", "-q", "-o", "addopts=", "-o", "junit_logging=all", f"--junitxml={REPORT}"]
    command = shlex.join([*words, "-p", "no:cacheprovider", item.nodeid])
    runner = SkyPilotRunner(checkout=root, outputs=root / "cvl-outputs")
    result = runner.run(command, ".", outputs=[REPORT], **inputs)
    case = _case(result)
    if case is None:
        pytest.fail(f"{result.ending.value}: {result.reason}", pytrace=False)
    _end_as(case, result)


def _case(result: RunResult) -> Element | None:
    """Return the test in the machine's report; None where there is no such report."""
    from defusedxml.ElementTree import ParseError, parse  # noqa: PLC0415

    path = Path(result.outputs_directory or ".") / REPORT
    if not result.outputs_directory or not path.is_file() or path.stat().st_size > LARGEST_REPORT_BYTES:
        return None
    try:
        case: Element | None = parse(path).find(".//testcase")
    except ParseError:
        return None
    return case


def _end_as(case: Element, result: RunResult) -> None:
    for name in ("system-out", "system-err"):
        output = case.find(name)
        if output is not None and output.text:
            print(output.text)  # noqa: T201  pytest shows it with the test, as the output of a local one
    skip = case.find("skipped")
    if skip is not None:
        pytest.skip(skip.get("message") or "skipped on the machine")
    for name in ("failure", "error"):
        problem = case.find(name)
        if problem is not None:
            pytest.fail(problem.text or problem.get("message") or name, pytrace=False)
    if result != 0:
        pytest.fail(f"The test passed, but its run did not: {result.reason}", pytrace=False)
