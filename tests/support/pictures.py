"""Take the pictures of README and docs: `python -m tests.support.pictures`.

A copy of the example `digits_sgd` gets a second commit, which trains longer. The action then runs it for a pull
request, against its base, on the emulated cloud, with the API of GitHub that the tests have. A terminal runs the legs
of the report.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from markdown_it import MarkdownIt

from tests.action.github import event, serving
from tests.github.api import Api
from tests.support.doc_tables import ROOT
from tests.support.git import git

FOLDER = ROOT / "docs/pictures"
EXAMPLE = "examples/tabular/digits_sgd"
PROGRAM = Path(sys.executable).parent / "cvl-ci"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REGIONS = ("us-east-1", "us-west-2")
WIDTHS = {"comment": 860, "report": 1000}
"""Pixels of CSS."""
TALLEST = {"comment": 800, "report": 480}
"""Pixels of a picture; it shows the top of a longer page."""
LARGEST_BYTES = 150 << 10
"""Of all pictures together."""

# GitHub's light theme, as far as a comment shows it: github.com/primer/css.
COMMENT = """<!doctype html><meta charset="utf-8"><style>
body { margin: 16px; font: 14px/1.5 -apple-system, "Segoe UI", "Noto Sans", Helvetica, sans-serif; color: #1f2328 }
.box { border: 1px solid #d1d9e0; border-radius: 6px }
.head { padding: 8px 16px; background: #f6f8fa; border-bottom: 1px solid #d1d9e0;
border-radius: 6px 6px 0 0; color: #59636e }
.head b { color: #1f2328 } .head i { font-style: normal; border: 1px solid #d1d9e0; border-radius: 2em; padding: 0 7px;
font-size: 12px }
.body { padding: 16px } h3 { font-size: 18px; margin: 0 0 16px } a { color: #0969da; text-decoration: none }
table { border-collapse: collapse; margin-bottom: 16px } td, th { border: 1px solid #d1d9e0; padding: 6px 13px }
thead th:empty { padding: 0 } tr:nth-child(2n) td { background: #f6f8fa }
details { margin-bottom: 10px } summary { cursor: pointer }
code, pre { font: 12px/1.45 "Liberation Mono", "DejaVu Sans Mono", monospace; border-radius: 6px;
background: #818b981f }
code { padding: 3px 5px } pre { padding: 16px } pre code { padding: 0; background: none } ul { padding-left: 2em }
</style><div class="box"><div class="head"><b>github-actions</b> <i>bot</i> commented</div><div class="body">
"""


def main() -> int:
    """Run, draw and write the pictures. Return 1 when they are too large together."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        comment, page = runs(folder)
        FOLDER.mkdir(exist_ok=True)
        for name, text in {"comment": drawn(comment), "report": page}.items():
            draw(text, FOLDER / f"{name}.png", width=WIDTHS[name], tallest=TALLEST[name], folder=folder)
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{size:,} bytes in {FOLDER}")
    return int(size > LARGEST_BYTES)


def drawn(comment: str) -> str:
    """Return the Markdown of a comment as a page that looks like GitHub's."""
    return f"{COMMENT}{MarkdownIt('gfm-like', {'linkify': False}).render(comment)}</div></div>"


def draw(page: str, picture: Path, *, width: int, tallest: int, folder: Path) -> None:
    """Draw a page of HTML in Chromium, as high as it is, or its top. Raise CalledProcessError when Chromium fails."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    address = (folder / "page.html").as_uri()
    probe = folder / "probe.html"
    probe.write_text(
        "<!doctype html><script>addEventListener('load', () => document.title = 'height ' + "
        "document.querySelector('iframe').contentDocument.documentElement.scrollHeight)</script>"
        f'<iframe src="page.html" style="border: 0; width: {width}px; height: 100px"></iframe>',
        encoding="utf-8",
    )
    result = re.search(
        r"<title>height (\d+)", _chromium(folder, probe.as_uri(), "--allow-file-access-from-files", "--dump-dom")
    )
    assert result is not None, "the page told no height"
    _chromium(folder, address, f"--window-size={width},{min(int(result[1]), tallest)}", f"--screenshot={picture}")


def _chromium(folder: Path, address: str, *switches: str) -> str:
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    common = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000",
              "--blink-settings=preferredColorScheme=1", f"--user-data-dir={folder / 'profile'}"]  # fmt: skip
    result = subprocess.run(
        [browser, *common, *switches, address], capture_output=True, text=True, check=True, timeout=200
    )
    return result.stdout


def runs(folder: Path) -> tuple[str, str]:
    """Run everything on one sandbox. Return the Markdown of the comment and the HTML of the report."""
    repository = _repository(folder / "repository")
    environment = _environment(folder)
    try:
        comment = _comment(repository, environment)
        legs = folder / "legs"
        for region in REGIONS:
            words = ["run", EXAMPLE, "train", "--cloud", f"sandbox/{region}", "--compare", "HEAD~1", "--keep-sandbox"]
            summary = ["--json-summary", str(legs / f"{region}.json"), "--outputs-dir", str(folder / region)]
            legs.mkdir(exist_ok=True)
            subprocess.run([PROGRAM, *words, *summary], cwd=repository, env=environment, check=True)
        report = ["report", str(legs), "--into", str(folder / "report")]
        subprocess.run([PROGRAM, *report], cwd=repository, env=environment, check=True)
    finally:
        subprocess.run([PROGRAM, "sandbox", "down"], env=environment, check=True)
    return comment, (folder / "report/report.html").read_text(encoding="utf-8")


def _repository(root: Path) -> Path:
    """Return a checkout of two commits: the second one trains twice as long."""
    shutil.copytree(ROOT / EXAMPLE, root / EXAMPLE, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "train 30 epochs")
    train = root / EXAMPLE / "train.py"
    train.write_text(train.read_text(encoding="utf-8").replace("default=30", "default=60"), encoding="utf-8")
    git(root, "commit", "-qam", "train 60 epochs")
    return root


def _environment(folder: Path) -> dict[str, str]:
    expected = ("PATH", "LANG", "DOCKER_HOST", "SSL_CERT_FILE")
    own = {name: os.environ[name] for name in expected if name in os.environ}
    return {**own, "HOME": str(folder / "home"), "CVL_CI_SANDBOX_DIR": str(folder / "sandbox"), "NO_COLOR": "1"}


def _comment(repository: Path, environment: Mapping[str, str]) -> str:
    """Run the action for a pull request, and return the one comment that it leaves."""
    files = repository.parent / "files"
    files.mkdir()
    paths = {name: files / name for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")}
    for path in paths.values():
        path.touch()
    (files / "event.json").write_text(json.dumps(event()), encoding="utf-8")
    api = Api()
    with serving(api, "127.0.0.1") as url:
        values = {
            **environment,
            **{name: str(path) for name, path in paths.items()},
            "GITHUB_API_URL": url,
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(files / "event.json"),
            "GITHUB_REPOSITORY": "cvl/ci",
            "GITHUB_RUN_ID": "7",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "train",
            "GITHUB_ACTION": "__self",
            "GITHUB_WORKSPACE": str(repository),
            "INPUT_GITHUB_TOKEN": "secret-token",
            "INPUT_EXAMPLE": EXAMPLE,
            "INPUT_PRESET": "train",
            "INPUT_CLOUD": f"sandbox/{REGIONS[0]}",
            "INPUT_COMPARE": "HEAD~1",
            "INPUT_LEG": "null",
        }
        program = [sys.executable, "-I", "-m", "cvl_ci.action.main"]
        for entry in ("/entrypoint", "/post-entrypoint"):
            subprocess.run([*program, entry], cwd=repository, env=values, check=True)
    [body] = api.bodies()
    return str(body)


if __name__ == "__main__":
    sys.exit(main())
