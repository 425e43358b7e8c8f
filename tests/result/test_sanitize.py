"""Whatever a job prints, a terminal only shows it."""

from __future__ import annotations

import pytest

from cvl_ci.result.sanitize import for_terminal, plain


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain text, ünïcödé, 日本語 and a\ttab", "plain text, ünïcödé, 日本語 and a\ttab"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;2;1;2;3mtrue colour\x1b[m", "\x1b[38;2;1;2;3mtrue colour\x1b[m"),
        ("\x1b]0;a window title\x07text", "text"),
        ("\x1b]52;c;ZXZpbA==\x1b\\clipboard", "clipboard"),
        ("\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
        ("\x1b[?1049hanother screen", "another screen"),
        ("\x1bP1$r q\x1b\\device", "device"),
        ("\x1bcreset", "reset"),
        ("\x9b2J8-bit", "8-bit"),
        ("\x9d0;title\x9c8-bit title", "8-bit title"),
        ("bell\x07 back\x08 null\x00 delete\x7f", "bell back null delete"),
        ("10%\r50%\r100%", "100%"),
        ("100%\r", "100%"),
        ("\r\r", ""),
        ("\u202eesrever", "esrever"),
        ("unfinished \x1b]0;title", "unfinished 0;title"),
        ("unfinished \x1b[", "unfinished "),
        ("ends with \x1b", "ends with "),
        ("\x1b\x1b[31m[2J", "\x1b[31m[2J"),
    ],
)
def test_a_line_is_shown_without_what_a_terminal_would_obey(printed: str, shown: str) -> None:
    assert for_terminal(printed) == shown


def test_taking_a_sequence_out_never_makes_another() -> None:
    for trick in ("\x1b\x1b[2J[2J", "\x1b\x07[2J", "\x1b\x1b]0;x\x07[2J", "\x1b[3\x1b[2J1m", "\x1b\x08[H"):
        rest = for_terminal(trick).replace("\x1b[31m", "")
        assert "\x1b" not in rest, trick


def test_plain_text_is_one_line_without_colours() -> None:
    assert plain("\x1b[31ma\x1b[0m\nb\r\nc") == "a b c"


def test_ten_thousand_escapes_take_no_time() -> None:
    for_terminal("\x1b]" * 100_000)
    for_terminal("\x1b[" * 100_000)
