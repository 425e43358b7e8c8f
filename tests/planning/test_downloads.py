"""What an example wants fetched becomes one shell line each, or one clear sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import downloads


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("hf://o/r/f.bin", "https://huggingface.co/o/r/resolve/main/f.bin"),
        ("https://huggingface.co/o/r/resolve/main/f.bin", "https://huggingface.co/o/r/resolve/main/f.bin"),
        ("hf://datasets/o/r/a/f.csv", "https://huggingface.co/datasets/o/r/resolve/main/a/f.csv"),
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


UV = """#!/bin/sh
echo "$@" >> ~/asked
while [ "$1" != --local-dir ]; do shift; done
mkdir -p "$2"
: > "$2/f"
"""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hf://o/r", "download o/r --local-dir"),
        ("hf://o/r/", "download o/r --local-dir"),
        ("hf://datasets/o/r", "download o/r --repo-type dataset --local-dir"),
    ],
)
@pytest.mark.parametrize("dest", ["models/r", "models/r/"])
def test_a_whole_repository_comes_as_a_folder(url: str, words: str, dest: str, tmp_path: Path) -> None:
    """Run by a shell, with a stand-in for uv that makes the folder it is told to make."""
    (line,) = downloads.lines({"downloads": [{"url": url, "dest": dest}]})
    assert words in line
    uv = tmp_path / ".local" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    for _ in range(2):
        subprocess.run(["bash", "-ec", line], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True)
    assert (tmp_path / ".cache" / "cvlization" / "models" / "r" / "f").exists()
    assert len((tmp_path / "asked").read_text().splitlines()) == 1, "the second time it is there"


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
        {"url": "hf://owner", "dest": "x"},
        {"url": "hf://datasets/owner", "dest": "../x"},
    ],
)
def test_what_cannot_be_fetched_says_why(entry: object) -> None:
    with pytest.raises(Wrong):
        downloads.lines({"downloads": [entry]})


def test_nothing_in_an_address_or_a_name_is_run() -> None:
    (line,) = downloads.lines({"downloads": [{"url": "http://x/$(touch a);b", "dest": "c;d $(e)"}]})
    assert "'http://x/$(touch a);b'" in line
    assert "'c;d $(e)'.part" in line
