"""One word in, one typed value out: how each kind of input is read, from text or from Python. Pure."""

from __future__ import annotations

import base64
import math
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import PurePath

from cvl_ci.inputs import sendable_text
from cvl_ci.inputs.patterns import MOST_PATTERNS, TooMany, patterns, unclosed
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.resource_request import Spot

SPOT_WORDS = ("true", "false", "fallback")
_DURATION = re.compile(r"((?P<d>[\d.]+)d)?((?P<h>[\d.]+)h)?((?P<m>[\d.]+)m)?((?P<s>[\d.]+)s)?")
_MINUTES = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}
_MEMORY = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?:(?P<unit>[kmgtp])(?:i?b|i)?)?\s*\+?")
# sky/skylet/constants.py, MEMORY_SIZE_UNITS: SkyPilot's GB and GiB are one.
_GIB = {"k": 2.0**-20, "m": 2.0**-10, "g": 1.0, "t": 2.0**10, "p": 2.0**20}
_LONGEST_MINUTES = 30 * 24 * 60.0
_LONGEST_KEPT_MINUTES = 24 * 60
_KEY_KINDS = (
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
)  # fmt: skip


class Wrong(ValueError):
    """This value cannot be meant. `display`: what to print instead of it, where it may be a secret.

    `further`: mistakes in other parts of the same value.
    """

    def __init__(
        self, problem: str, *, near: tuple[str, ...] = (), display: str | None = None, further: tuple[Wrong, ...] = ()
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.near = near
        self.display = display
        self.further = further


LONGEST_RETENTION_DAYS = 400
"""GitHub's own, for private repositories of an organization."""
MOST_TRIALS = 100
MOST_RECOVERIES = 20
SHORTEST_IDLE_SECONDS = 30.0
"""Fewer samples of a GPU would prove nothing."""


def text(value: object) -> str:
    if isinstance(value, PurePath):
        value = str(value)
    if not isinstance(value, str):
        raise Wrong("is not text")
    if any(ord(letter) < 32 for letter in value):
        raise Wrong("holds a line break or a control character")
    return value.strip()


def script(value: object) -> str:
    """Shell text: may have several lines."""
    if not isinstance(value, str):
        raise Wrong("is not text")
    return sendable(value).strip()


def image(value: object) -> str:
    name = text(value).removeprefix("docker:")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", name):
        raise Wrong("is not a Docker image, as in `pytorch/pytorch:2.4.0-cuda12.1-cudnn9-runtime`")
    return name


def shell_words(value: object) -> tuple[str, ...]:
    """Arguments: a list as it is, text as a shell would split it."""
    if isinstance(value, str):
        text_to_send = sendable(value)
        try:
            return tuple(shlex.split(text_to_send))
        except ValueError as error:
            raise Wrong(f"cannot be split into words ({str(error).lower()})") from None
    if isinstance(value, Sequence):
        return tuple(sendable(str(word)) for word in value)
    raise Wrong("is neither text nor a list of words")


def whole_number(value: object) -> int:
    number = _number(value)
    if number != int(number) or number < 1:
        raise Wrong("is not a whole number of at least 1")
    return int(number)


def trial_count(value: object) -> int:
    number = whole_number(value)
    if number > MOST_TRIALS:
        raise Wrong(f"is more than {MOST_TRIALS}")
    return number


def whole_number_or_zero(value: object) -> int:
    """Return a whole number of at least 0. Raise Wrong."""
    number = _number(value)
    if number != int(number) or number < 0:
        raise Wrong("is neither 0 nor a whole number of at least 1")
    return int(number)


def recoveries(value: object) -> int:
    """As whole_number_or_zero; more than 20 losses of one run are not worth their money."""
    number = whole_number_or_zero(value)
    if number > MOST_RECOVERIES:
        raise Wrong(f"is more than {MOST_RECOVERIES}")
    return number


def minutes_kept(value: object) -> int:
    """As whole_number_or_zero; a day is the longest, for each of these minutes is paid for."""
    number = whole_number_or_zero(value)
    if number > _LONGEST_KEPT_MINUTES:
        raise Wrong("is longer than a day (1440 minutes)")
    return number


def public_key(value: object) -> str:
    """One line of an authorized_keys file, without options. The value is never shown: it may be the other half."""
    words = value.split() if isinstance(value, str) else []
    if isinstance(value, str) and "PRIVATE" in value:
        raise Wrong("is a private key: give the other half, as in `id_ed25519.pub`, and make a new pair", display="***")
    if problem := sendable_text.problem_of(" ".join(words)):
        raise Wrong(problem, display="***")
    if len(words) < 2 or words[0] not in _KEY_KINDS or not _is_key(words[0], words[1]) or "\n" in str(value).strip():
        raise Wrong("is not an ssh public key, as in `ssh-ed25519 AAAA… anna@laptop`", display="***")
    return " ".join(words)


def amount(value: object) -> float:
    """Return a least number: `4` and `4+` both mean at least 4. Raise Wrong."""
    if isinstance(value, str):
        value = value.strip().removesuffix("+").strip()
    number = _number(value)
    if number <= 0:
        raise Wrong("is not more than 0")
    return number


def gibibytes(value: object) -> float:
    """Return a least memory in GiB, from SkyPilot's units: `16`, `16+`, `16GB`, `500MB`; a number alone is GiB."""
    match = _MEMORY.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    number = _number(_number(match["number"]) * _GIB[match["unit"] or "g"]) if match else _number(value)
    if number <= 0:
        raise Wrong("is not more than 0")
    return number


def gigabytes(value: object) -> int:
    number = gibibytes(value)
    if number != int(number):
        raise Wrong("is not a whole number of gigabytes")
    return int(number)


def dollars(value: object) -> float:
    number = _number(value.strip().removeprefix("$") if isinstance(value, str) else value)
    if number <= 0:
        raise Wrong("is not an amount of dollars, as in `2.50`")
    return number


def minutes(value: object) -> float:
    """`90m`, `2h`, `1h30m`; a number alone is minutes."""
    match = _DURATION.fullmatch(value.strip().lower().replace(" ", "")) if isinstance(value, str) else None
    counts = {unit: count for unit, count in (match.groupdict().items() if match else ()) if count}
    try:
        number = sum(_number(count) * _MINUTES[unit] for unit, count in counts.items()) if counts else _number(value)
    except Wrong:
        raise Wrong("is not a length of time, as in `90m`, `2h` or `1h30m`") from None
    if number <= 0:
        raise Wrong("is not more than 0")
    if number > _LONGEST_MINUTES:
        raise Wrong("is longer than 30 days")
    return number


def percent(value: object) -> int:
    """Return a percentage from 1 to 100; `10%` too. Raise Wrong."""
    number = whole_number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    if number > 100:
        raise Wrong("is more than 100 percent")
    return number


def idle_seconds(value: object) -> float:
    """Return seconds, from the words of `minutes`: `15m`; a number alone is minutes. Raise Wrong."""
    seconds = minutes(value) * 60
    if seconds < SHORTEST_IDLE_SECONDS:
        raise Wrong(f"is less than {SHORTEST_IDLE_SECONDS:.0f} seconds")
    return seconds


def spot(value: object) -> Spot:
    """GitHub's spellings of a boolean, and `fallback`."""
    word = str(value).strip().lower()
    if isinstance(value, (bool, str)) and word in SPOT_WORDS:
        return Spot(word)
    raise Wrong("is none of true, false and fallback", near=similar(word, SPOT_WORDS))


def flag(value: object) -> bool:
    word = str(value).strip().lower()
    if isinstance(value, (bool, str)) and word in {"true", "false"}:
        return word == "true"
    raise Wrong("is neither true nor false", near=similar(word, SPOT_WORDS[:2]))


def choice(*choices: str) -> Callable[[object], str]:
    """Return a reader of one of these words, in any case."""

    def read(value: object) -> str:
        word = text(value)
        if word.lower() not in choices:
            raise Wrong(f"is none of {', '.join(choices)}", near=similar(word, choices))
        return word.lower()

    return read


def retention_days(value: object) -> int:
    """Return a number of days for which GitHub may keep an artifact. Raises Wrong."""
    word = text(value)
    if word.isascii() and word.isdecimal() and int(word) <= LONGEST_RETENTION_DAYS:
        return int(word)
    raise Wrong(f"is not a number of days from 0 to {LONGEST_RETENTION_DAYS}")


def globs(value: object) -> tuple[str, ...]:
    texts = tuple(glob for line in _lines(value) if (glob := line.strip()))
    for glob in texts:
        below = glob.lstrip("! ")
        if below.startswith(("/", "~")) or ".." in below.split("/"):
            raise Wrong("leads out of the working directory", display=glob)
        if "\0" in glob:
            raise Wrong("holds a NUL character, which no path can hold", display=glob)
        if sign := unclosed(glob):
            raise Wrong(f"opens a {sign} that nothing closes; for the sign itself, write [{sign}]", display=glob)
    try:
        patterns(texts, directory=".")
    except TooMany:
        raise Wrong(f"stands for more than {MOST_PATTERNS} patterns by its braces", display=texts[0]) from None
    return texts


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Wrong("is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Wrong("is not a number") from None
    if not math.isfinite(number):
        raise Wrong("is not a number")
    return number


def _is_key(kind: str, encoded: str) -> bool:
    """RFC 4253, 6.6: the encoded key begins with its own kind, as a string with its length before it."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    return blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()) and len(blob) > len(kind) + 4


def _lines(value: object) -> list[str]:
    if isinstance(value, str):
        return value.splitlines()
    if isinstance(value, Sequence):
        return [line for entry in value for line in str(entry).splitlines()]
    raise Wrong("is neither text nor a list")


def sendable(text: str) -> str:
    """Return a text that can go to a machine. Raise Wrong."""
    if problem := sendable_text.problem_of(text):
        raise Wrong(problem)
    return text
