"""Nothing is written through a link that a checkout made; a person's own links elsewhere are theirs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cvl_ci.result.no_follow import LinkInTheWay, open_folder, opened_to_write, refuse_links, write_text
from cvl_ci.result.sanitize import encodable, for_terminal, plain


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outside of the checkout that we stand in."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("path", ["out/x.json", "out", "./out/../out/deep/x.json"])
@pytest.mark.parametrize("absolute", [False, True])
def test_no_part_below_the_checkout_may_be_a_link(elsewhere: Path, path: str, absolute: bool) -> None:
    Path("out").symlink_to(elsewhere)
    target = Path.cwd() / path if absolute else Path(path)
    with pytest.raises(LinkInTheWay, match="is a link to another place") as refused:
        write_text(target, "x")
    assert refused.value.exit_code == 64
    with pytest.raises(LinkInTheWay), opened_to_write(target, append=True):
        pass
    with pytest.raises(LinkInTheWay):
        open_folder(target)
    assert list(elsewhere.iterdir()) == []


def test_the_file_itself_may_be_no_link_also_one_to_nothing(elsewhere: Path) -> None:
    Path("x.json").symlink_to(elsewhere / "x.json")
    with pytest.raises(LinkInTheWay):
        write_text(Path("x.json"), "x")
    assert list(elsewhere.iterdir()) == []


def test_a_persons_own_link_outside_the_checkout_is_followed(elsewhere: Path) -> None:
    (elsewhere / "real").mkdir()
    (elsewhere / "mine").symlink_to(elsewhere / "real")
    refuse_links(elsewhere / "mine" / "x")
    write_text(elsewhere / "mine" / "x", "\ud800 x")
    assert (elsewhere / "real" / "x").read_text() == "? x"


def test_what_is_there_is_replaced_and_appended_to(elsewhere: Path) -> None:
    write_text(Path("a/b.txt"), "long text")
    write_text(Path("a/b.txt"), "x")
    with opened_to_write(Path("a/b.txt"), append=True) as file:
        os.write(file, b"y")
    assert Path("a/b.txt").read_text() == "xy"


def test_machine_text_can_be_encoded_and_says_what_it_said() -> None:
    value = {"caf\udce9": ["\ud800", 1, None, {"a": "b\udfff"}], "ü": "🚀"}
    assert encodable(value) == {"caf\ufffd": ["\ufffd", 1, None, {"a": "b\ufffd"}], "ü": "🚀"}
    assert plain("caf\udce9") == for_terminal("caf\udce9") == "caf\ufffd"
