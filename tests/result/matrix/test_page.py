"""The page in a real browser: it draws, complains of nothing, asks nobody, and fits a telephone and a wide screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.local.run_files import assets
from cvl_ci.result.matrix.page import page
from cvl_ci.result.matrix.report import Report, report
from tests.conftest import in_ci
from tests.result.benchmark.legs import leg
from tests.result.matrix.test_report import CRASHED, nasty, reported

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROBE = """
parent.postMessage({ width: innerWidth, scroll: document.documentElement.scrollWidth,
  canvas: document.querySelectorAll("canvas").length, rows: document.querySelectorAll(".metrics tbody tr").length,
  ground: getComputedStyle(document.body).backgroundColor }, "*");
"""
AROUND = """<!doctype html><script>
addEventListener("message", (event) => { document.title = "told " + JSON.stringify(event.data); });
</script><iframe src="report.html" style="border: 0; height: 1200px; width: {width}px"></iframe>
"""
"""No window is as narrow as a telephone, but a frame is."""
DARK, LIGHT = 0, 1


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and not in_ci():
        pytest.skip("no Chromium is installed: script/bootstrap --with-peers installs one on Debian")
    assert found is not None, "no Chromium is installed"
    return found


def opened(browser: str, html: str, folder: Path, *, width: int = 1000, scheme: int = LIGHT) -> tuple[str, list[str]]:
    """The document around it after all scripts, and what the console said."""
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "around.html").write_text(AROUND.replace("{width}", str(width)), encoding="utf-8")
    switches = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=3000",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1500,1300",
        f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run(
        [browser, *switches, (folder / "around.html").as_uri()],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probed(report: Report) -> str:
    given = assets()
    return page(report, assets=replace(given, scripts=[*given.scripts, PROBE]))


def told(document: str) -> dict[str, Any]:
    found = re.search(r"<title>told (.*?)</title>", document)
    assert found is not None, document[:500]
    facts: dict[str, Any] = json.loads(found[1])
    return facts


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("width", [390, 1400])
def test_it_draws_and_fits_and_complains_of_nothing(browser: str, tmp_path: Path, width: int, scheme: int) -> None:
    document, said = opened(browser, probed(reported()), tmp_path, width=width, scheme=scheme)
    assert said == []
    facts = told(document)
    assert (facts["width"], facts["canvas"], facts["rows"]) == (width, 2, 8), "a trend, the nights, and all metrics"
    assert facts["scroll"] <= width, "nothing sticks out at the side"
    assert facts["ground"] == ("rgb(18, 22, 28)" if scheme == DARK else "rgb(255, 255, 255)")


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_a_machine_said_runs_or_breaks_the_page(browser: str, tmp_path: Path, width: int) -> None:
    document, said = opened(browser, probed(reported(nasty())), tmp_path, width=width)
    assert said == []
    assert told(document)["scroll"] <= width


SEEN = """
const error = document.querySelector("td code.bad"), place = error.getClientRects()[0];
const hit = document.elementFromPoint(place.x + 2, place.y + 2);
const log = document.querySelector("td details"), folded = log.querySelector("pre").checkVisibility();
log.open = true;
parent.postMessage({ text: error.textContent, seen: error.contains(hit), folded,
  log: log.querySelector("pre").textContent.trimEnd().split("\\n").length,
  scroll: document.documentElement.scrollWidth }, "*");
"""


@pytest.mark.parametrize("width", [390, 1400])
def test_a_crashed_leg_s_error_is_seen_without_a_click(browser: str, tmp_path: Path, width: int) -> None:
    crashed = leg(**{**CRASHED, "first_error": "ValueError: " + "x" * 250, "last_lines": ["y" * 280] * 20})
    given = assets()
    html = page(report([crashed]), assets=replace(given, scripts=[*given.scripts, SEEN]))
    document, said = opened(browser, html, tmp_path, width=width)
    assert said == []
    facts = told(document)
    assert (facts["text"], facts["seen"], facts["folded"]) == (crashed.evidence.first_error, True, False)
    assert facts["log"] == 20
    assert facts["scroll"] <= width


def test_a_page_that_asked_somebody_would_be_seen(browser: str, tmp_path: Path) -> None:
    asks = page(reported(), assets=assets()).replace("</main>", '<img src="https://example.com/x.png"></main>')
    _, said = opened(browser, asks, tmp_path)
    assert any("Content Security Policy" in line for line in said)
