"""The page in a real browser: it draws, complains of nothing, asks nobody, and fits a telephone and a wide screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
AROUND = """<!doctype html><pre></pre><style>iframe { border: 0; height: 1200px; position: absolute; top: 0 }</style>
<script>
addEventListener("message", (event) => {
  const frame = [...document.querySelectorAll("iframe")].find((one) => one.contentWindow === event.source);
  document.querySelector("pre").textContent += JSON.stringify([frame.name, event.data]) + "\\n";
});
</script>
"""
"""Frames over each other: no window is as narrow as a telephone, but a frame is, and one out of sight draws nothing."""
DARK, LIGHT = 0, 1


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and not in_ci():
        pytest.skip("no Chromium is installed: script/bootstrap --with-peers installs one on Debian")
    assert found is not None, "no Chromium is installed"
    return found


@dataclass(frozen=True)
class Opened:
    """What a page told of itself once, after all scripts, and what the console said of it."""

    facts: dict[str, Any]
    said: list[str]


def opened(browser: str, pages: Mapping[str, tuple[int, str]], folder: Path, *, scheme: int) -> dict[str, Opened]:
    """Open all pages in one browser, by their name, each with its width and its HTML."""
    frames = [
        f'<iframe name="{name}" src="{name}.html" width="{width}"></iframe>' for name, (width, _) in pages.items()
    ]
    for name, (_, text) in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    (folder / "around.html").write_text(AROUND + "\n".join(frames), encoding="utf-8")
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
    found = re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found is not None, done.stdout[:500]
    facts = [json.loads(line) for line in html.unescape(found[1]).splitlines()]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    said = {name: [line for line in console if (folder / f"{name}.html").as_uri() in line] for name in pages}
    assert sorted(console) == sorted(line for lines in said.values() for line in lines)
    assert sorted(name for name, _ in facts) == sorted(pages), "each page tells once"
    return {name: Opened(facts=facts, said=said[name]) for name, facts in facts}


def probed(report: Report) -> str:
    given = assets()
    return page(report, assets=replace(given, scripts=[*given.scripts, PROBE]))


SEEN = """
const error = document.querySelector("td code.bad"), place = error.getClientRects()[0];
const hit = document.elementFromPoint(place.x + 2, place.y + 2);
const log = document.querySelector("td details"), folded = log.querySelector("pre").checkVisibility();
log.open = true;
parent.postMessage({ text: error.textContent, seen: error.contains(hit), folded,
  log: log.querySelector("pre").textContent.trimEnd().split("\\n").length,
  scroll: document.documentElement.scrollWidth }, "*");
"""
CRASH = leg(**{**CRASHED, "first_error": "ValueError: " + "x" * 250, "last_lines": ["y" * 280] * 20})
WIDTHS = (390, 1400)


def light_pages() -> dict[str, tuple[int, str]]:
    given = assets()
    texts = {
        "reported": probed(reported()),
        "nasty": probed(reported(nasty())),
        "crashed": page(report([CRASH]), assets=replace(given, scripts=[*given.scripts, SEEN])),
        "asks": probed(reported()).replace("</main>", '<img src="https://example.com/x.png"></main>'),
    }
    return {f"{name}-{width}": (width, text) for name, text in texts.items() for width in WIDTHS}


@pytest.fixture(scope="module")
def light(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Opened]:
    return opened(browser, light_pages(), tmp_path_factory.mktemp("light"), scheme=LIGHT)


@pytest.fixture(scope="module")
def dark(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Opened]:
    text = probed(reported())
    pages = {f"reported-{width}": (width, text) for width in WIDTHS}
    return opened(browser, pages, tmp_path_factory.mktemp("dark"), scheme=DARK)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_draws_and_fits_and_complains_of_nothing(request: pytest.FixtureRequest, width: int, scheme: int) -> None:
    seen = request.getfixturevalue("dark" if scheme == DARK else "light")[f"reported-{width}"]
    assert seen.said == []
    facts = seen.facts
    assert (facts["width"], facts["canvas"], facts["rows"]) == (width, 2, 8), "a trend, the nights, and all metrics"
    assert facts["scroll"] <= width, "nothing sticks out at the side"
    assert facts["ground"] == ("rgb(18, 22, 28)" if scheme == DARK else "rgb(255, 255, 255)")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_a_machine_said_runs_or_breaks_the_page(light: dict[str, Opened], width: int) -> None:
    seen = light[f"nasty-{width}"]
    assert seen.said == []
    assert seen.facts["scroll"] <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_a_crashed_leg_s_error_is_seen_without_a_click(light: dict[str, Opened], width: int) -> None:
    seen = light[f"crashed-{width}"]
    assert seen.said == []
    facts = seen.facts
    assert (facts["text"], facts["seen"], facts["folded"]) == (CRASH.evidence.first_error, True, False)
    assert facts["log"] == 20
    assert facts["scroll"] <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_that_asked_somebody_would_be_seen(light: dict[str, Opened], width: int) -> None:
    assert any("Content Security Policy" in line for line in light[f"asks-{width}"].said)
