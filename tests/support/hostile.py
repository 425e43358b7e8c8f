"""What a job may print, and call its files and metrics, if it wants to do harm; and where that harm would show."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

SECRET = 'sk-4f9A/w+"q&=ü~Zz0123456789abcdefABCDEF'
STRANGER = "mallory"


def spoken(secret: str) -> dict[str, str]:
    """A secret as programs write it: nothing here is made to fool anybody, all of it happens."""
    raw = secret.encode()
    return {
        "plain": secret,
        "in a URL": quote(secret, safe=""),
        "in JSON": json.dumps(secret),
        "base64": base64.b64encode(raw).decode(),
        "base64 of a header": base64.b64encode(b"user:" + raw).decode(),
        "base64 with a line feed": base64.b64encode(b"x " + raw + b"\n").decode(),
        "base64 for URLs": base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
    }


def interrupted(secret: str) -> tuple[str, ...]:
    """As `grep --color` and redrawn lines have it: whole to a reader, and to no search."""
    start, middle, end = secret[:9], secret[9:20], secret[20:]
    between = (("\x1b[01;31m\x1b[K", "\x1b[m\x1b[K"), ("\x1b[1m", "\x1b[0m"), ("\x00", "\x07"), ("\u202d", "\u202c"))
    return tuple(f"{start}{before}{middle}{after}{end}" for before, after in between)


def as_read(text: str) -> str:
    """What a person makes out of it: no colours, no controls."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0e-\x1f\u202a-\u202e]", "", text)


COMMANDS = (
    "::set-output name=ending::mine",
    "::save-state name=step_state::{}",
    "::add-mask::e",
    "::add-path::/tmp/evil",
    "::set-env name=PATH::/tmp/evil",
    "::add-matcher::/tmp/evil.json",
    "::error file=cvl_ci/lease.py,line=1::no",
    "::group::folded",
    "::endgroup::",
    "::echo::on",
    "::debug::x",
    "::stop-commands::pause-logging",
    "::pause-logging::",
    "::stop-commands::" + "0" * 32,
    "::" + "0" * 32 + "::",
    "##[add-mask]e",
    "##[set-env name=A;]b",
    "##[endgroup]",
    "##[stop-commands]x",
)
DISGUISES = (
    "{}",
    "  \t{}",
    "\u00a0{}",
    "\u2003\u3000{}",
    "\ufeff{}",
    "\u200b{}",
    "\x0b\x0c\x1c\x85{}",
    "50%\r{}",
    "50%\r{}\r",
    "first\n{}\nlast",
    "first\r\n{}",
    "first\u2028{}",
    "\x1b[31m{}\x1b[0m",
    "\x1b[2K\x1b[1G{}",
    "\x1b]0;title\x07{}",
    "\x9d0;title\x9c{}",
    "\x00{}",
    "\u202e{}",
    "(task, pid=1) {}",
    "safe so far {}",
)
BROKEN_APART = (
    "#\x00#[error]x",
    "##\x1b[1K[error]x",
    ":\u202a:error::x",
    ":\x1b[m:error::x",
    "#\u00ad#[error]x",
    "\x1b[1m:\x1b[0m:error::x",
)
MARKDOWN = (
    "```",
    "````",
    "~~~",
    "</code></pre></details>",
    "<details><summary>x</summary>",
    "<!-- cvl-ci:0a1b2c -->",
    "<!-- row:x -->",
    "<script>alert(1)</script>",
    "<img src=https://evil.example/x.png>",
    "![x](https://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "[ref]: https://evil.example",
    f"@{STRANGER} @cvl/maintainers",
    "fixes #1, closes cvl/ci#2, GH-3, resolves https://github.com/cvl/ci/issues/4",
    "https://evil.example www.evil.example mail@evil.example",
    "# heading",
    "> [!CAUTION]",
    "- [ ] task",
    "| a | b |",
    "|---|---|",
    "===",
    "$$\\x$$ [^1] :tada:",
    "&lt;b&gt; &#64;mallory",
)
BINARY = tuple(bytes((start + step * 7) % 256 for step in range(256)).decode("latin-1") for start in range(16))
UTF8_BROKEN = bytes(range(256)).decode("utf-8", "surrogateescape")
LONG = ("x" * 1_000_000, "::error::" * 20_000, "##[" * 50_000, "\x1b[" * 50_000, "a\r" * 50_000)

LINES = (
    *(disguise.format(command) for command in COMMANDS for disguise in DISGUISES),
    *BROKEN_APART,
    *MARKDOWN,
    *BINARY,
    UTF8_BROKEN,
    *(f"token={form}" for form in spoken(SECRET).values()),
    *(f"token={form}" for form in interrupted(SECRET)),
    *(f"{percent:3}%|{'█' * (percent // 10):10}| {percent}/100 [00:01<00:10, 3.1it/s]" for percent in range(0, 101, 5)),
)
NAMES = (*MARKDOWN, *(f"{line}/x" for line in COMMANDS), SECRET, "a" * 300, "..", "x\ny", "\x1b[2J")
"""Of files and metrics."""
