"""What an example wants fetched becomes one shell line each, or one clear sentence."""

from __future__ import annotations

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import downloads


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("hf://o/r/f.bin", "https://huggingface.co/o/r/resolve/main/f.bin"),
        ("https://huggingface.co/o/r/resolve/main/f.bin", "https://huggingface.co/o/r/resolve/main/f.bin"),
        ("gdrive://ID", "https://drive.usercontent.google.com/download?id=ID&export=download&confirm=t"),
        (
            "https://drive.google.com/file/d/ID/view",
            "https://drive.usercontent.google.com/download?id=ID&export=download&confirm=t",
        ),
        (
            "https://drive.google.com/uc?export=x&id=ID",
            "https://drive.usercontent.google.com/download?id=ID&export=download&confirm=t",
        ),
        ("http://example.com/x", "http://example.com/x"),
    ],
)
def test_every_kind_of_address_is_known(url: str, source: str) -> None:
    (line,) = downloads.lines({"downloads": [{"url": url, "dest": "x/y.bin"}]})
    assert source in line
    assert "x/y.bin.part" in line


def test_nothing_said_is_nothing_fetched() -> None:
    assert downloads.lines({}) == downloads.lines({"downloads": None}) == downloads.lines({"downloads": "prose"}) == ()


@pytest.mark.parametrize(
    "entry",
    [
        "x",
        {"url": "http://x/y"},
        {"dest": "x"},
        {"url": "http://x/y", "dest": "../x"},
        {"url": "http://x/y", "dest": "/etc/x"},
        {"url": "http://x/y", "dest": "~/x"},
        {"url": "http://x/y", "dest": "models/"},
        {"url": "ftp://x/y", "dest": "x"},
        {"url": "hf://owner/only", "dest": "x"},
    ],
)
def test_what_cannot_be_fetched_says_why(entry: object) -> None:
    with pytest.raises(Wrong):
        downloads.lines({"downloads": [entry]})


def test_nothing_in_an_address_or_a_name_is_run() -> None:
    (line,) = downloads.lines({"downloads": [{"url": "http://x/$(touch a);b", "dest": "c;d $(e)"}]})
    assert "'http://x/$(touch a);b'" in line
    assert "'c;d $(e)'.part" in line
