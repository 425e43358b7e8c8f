"""The pictures of README and docs: small, each shown in a page, and drawn as high as the page is."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from tests.conftest import in_ci
from tests.support import pictures
from tests.support.doc_tables import PAGES, ROOT


def size_of(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG, in pixels."""
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_they_are_small_and_each_is_shown() -> None:
    files = sorted(pictures.FOLDER.iterdir())
    assert [path.name for path in files] == ["comment.png", "report.png"]
    assert sum(path.stat().st_size for path in files) <= pictures.LARGEST_BYTES
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in files:
        assert f"({path.relative_to(ROOT)})" in text
        assert size_of(path)[0] == pictures.WIDTHS[path.stem]


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_a_page_is_drawn_as_high_as_it_is(tmp_path: Path) -> None:
    if not any(map(shutil.which, pictures.BROWSERS)) and not in_ci():
        pytest.skip("no Chromium is installed: script/bootstrap --with-peers installs one on Debian")
    heights = []
    for name in ("comment_nothing_asked", "comment_succeeded"):
        comment = (ROOT / f"tests/golden/{name}.md").read_text(encoding="utf-8")
        pictures.draw(pictures.drawn(comment), tmp_path / "x.png", width=860, tallest=1000, folder=tmp_path)
        width, height = size_of(tmp_path / "x.png")
        assert width == 860
        heights.append(height)
    assert 150 < heights[0] < heights[1] < 1000
