"""The plugin of pytest: a test with the marker `cvl_gpu` runs on a cloud machine. Loading it loads nothing heavy.

@pytest.mark.cvl_gpu("L4:1", max_cost=1)
def test_kernel(): ...
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
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
LEASE = "CVL_CI_LEASE"
"""The variable that each machine of a run has: engine/task/script.py, `environment`."""
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
    """Skip marked tests with the reason, or run them elsewhere: neither body nor fixtures run here.

    On a machine of a run they are ordinary tests: elsewhere is here.
    """
    marked = [(item, marker) for item in items if (marker := item.get_closest_marker(MARKER)) is not None]
    if not marked or _is_on_machine():
        return
    for item, marker in marked:
        if not config.getoption("--cvl-gpu"):
            item.add_marker(pytest.mark.skip(reason="it runs on a cloud machine: give --cvl-gpu"))
        elif isinstance(item, pytest.Function):
            item.setup = lambda: None  # type: ignore[method-assign]
            item.runtest = partial(_run, item, marker)  # type: ignore[method-assign]


def _is_on_machine() -> bool:
    from cvl_ci.wiring import environment  # noqa: PLC0415

    return bool(environment().get(LEASE))


def _run(item: pytest.Function, marker: pytest.Mark) -> None:
    """Run one test on a machine, and end here as it ended there."""
    from cvl_ci.model.outcome import Ending  # noqa: PLC0415
    from cvl_ci.runner import SkyPilotRunner  # noqa: PLC0415

    inputs = {"setup": INSTALL, **marker.kwargs}
    if marker.args:
        inputs["gpu"] = marker.args[0]
    root = item.config.rootpath
    # The project's own options may name plugins that the machine does not have. Without cvl-ci, the marker is unknown.
    words = ["python", "-m", "pytest", "-q", "-o", "addopts=", "-o", "junit_logging=all", f"--junitxml={REPORT}"]
    words += ["-o", "strict_markers=false", "-W", "ignore::pytest.PytestUnknownMarkWarning"]
    command = shlex.join([*words, "-p", "no:cacheprovider", item.nodeid])
    runner = SkyPilotRunner(checkout=root, outputs=root / "cvl-outputs")
    result = runner.run(command, ".", outputs=[REPORT], **inputs)
    if result.ending is Ending.CANCELLED:
        # With --pdb, pytest would go on to the next test after a KeyboardInterrupt.
        pytest.exit(_with_alarm(f"{result.ending.value}: {result.reason}", result))
    case = _case(result)
    if case is None:
        pytest.fail(_with_alarm(f"{result.ending.value}: {result.reason}", result), pytrace=False)
    _end_as(case, result, partial(_clean, runner.hidden))


def _case(result: RunResult) -> Element | None:
    """Return the test in the machine's report; None where there is no such report."""
    from defusedxml.common import DefusedXmlException  # noqa: PLC0415
    from defusedxml.ElementTree import ParseError, parse  # noqa: PLC0415

    path = Path(result.outputs_directory or ".") / REPORT
    if not result.outputs_directory or not path.is_file() or path.stat().st_size > LARGEST_REPORT_BYTES:
        return None
    try:
        case: Element | None = parse(path).find(".//testcase")
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        # The machine wrote it: it may declare entities, or an encoding that Python does not have.
        return None
    return case


def _end_as(case: Element, result: RunResult, clean: Callable[[str], str]) -> None:
    """End as the test on the machine. A run that failed otherwise hides behind no skip, and a leak behind no end."""
    for name in ("system-out", "system-err"):
        output = case.find(name)
        if output is not None and output.text:
            print(clean(output.text))  # noqa: T201  pytest shows it with the test, as the output of a local one
    for name in ("failure", "error"):
        problem = case.find(name)
        if problem is not None:
            pytest.fail(_with_alarm(clean(problem.text or problem.get("message") or name), result), pytrace=False)
    skip = case.find("skipped")
    if result != 0:
        words = "passed" if skip is None else "was skipped"
        pytest.fail(
            _with_alarm(f"The test {words}, but its run did not succeed: {result.reason}", result), pytrace=False
        )
    if skip is not None:
        pytest.skip(clean(skip.get("message") or "skipped on the machine"))


def _clean(hidden: Callable[[str], str], text: str) -> str:
    """Return a text of the machine without secrets, and harmless for a terminal."""
    from cvl_ci.result.sanitize import for_terminal  # noqa: PLC0415

    return "\n".join(map(for_terminal, hidden(text).split("\n")))


def _with_alarm(text: str, result: RunResult) -> str:
    """Return the text, after the alarm where a machine may still run."""
    from cvl_ci.result.text import accounted_for, down_command, headline  # noqa: PLC0415

    if accounted_for(result.outcome):
        return text
    return f"{headline(result.outcome)}\nEnd it with proof: {down_command(result.outcome)}\n{text}"
