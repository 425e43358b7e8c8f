"""No form of a secret shows: another secret of the same shape in its place changes nothing of what is read."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import shlex
import shutil
import string
import subprocess
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote, quote_plus, urlencode

import pytest

from cvl_ci.result.masked_lines import PIECE, MaskedLines
from cvl_ci.result.masks import Masks
from cvl_ci.result.secret_names import secret_values

Encoder = Callable[[str], str]


def _csharp_json(value: str) -> str:
    return re.sub(r"[\"&'<>+`]|[^\x20-\x7e]", lambda sign: f"\\u{ord(sign[0]):04X}", value.replace("\\", "\\\\"))


def _shifted(shift: int) -> Encoder:
    return lambda value: base64.b64encode(value.encode()[shift:]).decode()


THE_RUNNERS_OWN: dict[str, Encoder] = {
    # src/Sdk/DTLogging/Logging/ValueEncoders.cs
    "Base64StringEscape": _shifted(0),
    "Base64StringEscapeShift1": _shifted(1),
    "Base64StringEscapeShift2": _shifted(2),
    "CommandLineArgumentEscape": lambda value: value.replace('"', '\\"'),
    "ExpressionStringEscape": lambda value: value.replace("'", "''"),
    "JsonStringEscape": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "UriDataEscape": lambda value: quote(value, safe="-_.~"),
    "XmlDataEscape": lambda value: html.escape(value).replace("&#x27;", "&apos;"),
    "TrimDoubleQuotes": lambda value: value.strip('"'),
    "PowerShellPreAmpersandEscape": lambda value: value[: value.rindex("&") + 1] if value.count("&") else value,
    "PowerShellPostAmpersandEscape": lambda value: value[value.rindex("&") + 1 :] if value.count("&") else value,
}
ENCODERS: dict[str, Encoder] = {
    **THE_RUNNERS_OWN,
    "as it is": str,
    "quote": quote,
    "quote everything": lambda value: quote(value, safe=""),
    "quote in lower case": lambda value: re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
    "quote_plus": quote_plus,
    "urlencode": lambda value: urlencode({"x": value})[2:],
    "encodeURIComponent": lambda value: quote(value, safe="!'()*"),
    "encodeURI": lambda value: quote(value, safe="!*'();:@&=+$,/?#"),
    "URLSearchParams": lambda value: quote_plus(value, safe="*").replace("~", "%7E"),
    "quoted twice": lambda value: quote(quote(value, safe=""), safe=""),
    "json": lambda value: json.dumps(value)[1:-1],
    "json of PHP": lambda value: json.dumps(value)[1:-1].replace("/", "\\/"),
    "json of Go": lambda value: re.sub(
        "[&<>]", lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(value, ensure_ascii=False)[1:-1]
    ),
    "json of .NET": _csharp_json,
    "json in json": lambda value: json.dumps(json.dumps(value)[1:-1])[1:-1],
    "repr": lambda value: repr(value)[1:-1],
    "bytes": lambda value: repr(value.encode())[2:-1],
    "html": html.escape,
    "html of JavaScript": lambda value: html.escape(value).replace("&#x27;", "&#39;"),
    "xml without quotes": lambda value: html.escape(value, quote=False),
    "sh": lambda value: value.replace("'", "'\\''"),
    "shlex": lambda value: shlex.quote(value).strip("'"),
    "csv": lambda value: value.replace('"', '""'),
    "PowerShell": lambda value: re.sub(r'[`"$]', lambda sign: "`" + sign[0], value),
    "base64 after one": lambda value: base64.b64encode(b"u" + value.encode() + b":rest").decode(),
    "base64 after two": lambda value: base64.b64encode(b"u:" + value.encode() + b"!").decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "base64 of -EncodedCommand": lambda value: base64.b64encode(value.encode("utf-16-le")).decode(),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "hex with colons": lambda value: value.encode().hex(":"),
}
SECRETS_IN_ONE_LINE, SECRETS_ACROSS_LINES = 30, 70
"""Generated for each encoding, and for each way in which a program breaks lines."""
SIGNS = "/+&=%'\"\\<>$`!()*~@:;,?# {}[]^|-_.ü€"


def a_secret(dice: random.Random) -> str:
    """Letters at both ends: what a program trims is no matter here."""
    letters = string.ascii_letters + string.digits
    inner = dice.choices(letters + SIGNS, k=dice.randint(6, 60))
    return dice.choice(letters) + "".join(inner) + dice.choice(letters) * 2


def its_twin(secret: str, dice: random.Random) -> str:
    """Another one of the same shape: each letter and digit is another of its kind."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    other = {sign: dice.choice(kind) for kind in kinds for sign in kind}
    return "".join(other.get(sign, sign) for sign in secret)


def shown(secret: str, lines: Sequence[str]) -> list[str]:
    masks = Masks()
    masks.add(secret)
    hiding = MaskedLines(masks)
    return [hiding.hide(line) for line in lines]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_secret_and_its_twin_read_the_same_in_every_encoding(name: str) -> None:
    dice, encode = random.Random(name), ENCODERS[name]
    for _ in range(SECRETS_IN_ONE_LINE):
        secret = a_secret(dice)
        twin = its_twin(secret, dice)
        if len(encode(secret)) < 6 or len(encode(twin)) < 6:
            continue  # the section after an ampersand: the runner does not hide so short a one either
        before, after = ("".join(dice.choices("xyz ", k=dice.randint(0, 9))) + "<" for _ in range(2))
        one, other = ([f"{before}{encode(each)}>{after}"] for each in (secret, twin))
        assert shown(secret, one) == shown(twin, other), (secret, twin)
        assert "***" in shown(secret, one)[0]


BROKEN: dict[str, tuple[Callable[[bytes], str], Sequence[int]]] = {
    "base64": (lambda raw: base64.b64encode(raw).decode(), (60, 64, 76)),
    "base64url": (lambda raw: base64.urlsafe_b64encode(raw).decode(), (60, 64, 76)),
    "hex": (lambda raw: raw.hex(), (60, 64)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_secret_and_its_twin_read_the_same_where_lines_are_broken_at_any_sign(name: str) -> None:
    encode, widths = BROKEN[name]
    dice = random.Random(name)
    for before in range(SECRETS_ACROSS_LINES):
        secret = "".join(dice.choices(string.ascii_letters + string.digits + SIGNS, k=dice.randint(12, 150))).strip()
        twin = its_twin(secret, dice)
        width = dice.choice(widths)
        around = bytes(dice.choices(range(256), k=before)), bytes(dice.choices(range(256), k=90))
        one, other = (
            shown(each, _broken(encode(around[0] + each.encode() + around[1]), width)) for each in (secret, twin)
        )
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            shared = next((at for at, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), len(mine))
            # The last signs of a line that are the first of a form cannot be told from any other.
            assert mine == theirs or (len(mine) == len(theirs) and len(mine) - shared <= 4), (secret, mine, theirs)


def _broken(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, len(text), width)]


def test_a_secret_in_two_pieces_of_an_endless_line_is_hidden() -> None:
    secret = "correct horse battery staple"
    for cut in range(4, len(secret)):
        first, second = shown(secret, ["x" * PIECE + " " + secret[:cut], secret[cut:] + " and more"])
        assert (first[PIECE:], second) == ("x ***"[1:], "*** and more")


def test_ranks_that_print_at_the_same_time_do_not_hide_each_others_parts() -> None:
    secret = "".join(random.Random(1).choices(string.ascii_letters, k=120))
    one, two, three = [*_broken(base64.b64encode(secret.encode()).decode(), 76)[:2], "unrelated"]
    lines = [f"(rank 0) {one}", f"(rank 1) {one}", f"(rank 0) {two}", f"(rank 1) {three}", f"(rank 1) {two}"]
    assert shown(secret, lines)[:4] == ["(rank 0) ***", "(rank 1) ***", "(rank 0) ***", "(rank 1) unrelated"]


@pytest.mark.parametrize("line", ["sha256:" + "0a1b2c3d" * 8, "word " * 20, "/usr/lib/python3/dist-packages/x" * 3, ""])
def test_lines_that_hold_no_secret_stay_as_they_are(line: str) -> None:
    assert shown("hf_0123456789abcdef", [line, line]) == [line, line]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_what_bash_quotes_is_hidden() -> None:
    dice = random.Random(11)
    secrets = [a_secret(dice) for _ in range(60)]
    for locale in ("C", "C.UTF-8"):
        script = 'for each; do printf "%q\\n%s\\n" "$each" "${each@Q}"; done'
        quoted = subprocess.run(
            ["bash", "-c", script, "-", *secrets], env={"LC_ALL": locale}, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for at, secret in enumerate(secrets):
            for line in quoted[2 * at : 2 * at + 2]:
                assert re.fullmatch(r"\$?'?\*\*\*'?", shown(secret, [line])[0]), (locale, secret, line)


@pytest.mark.parametrize(
    ("secret", "text"),
    [("a" * 100 + "b", "a"), ("ab" * 30, "ab"), ("+/" * 20, "+/"), ("'" * 40, "'"), ("x" * 400, "x")],
)
def test_the_time_grows_with_the_text_and_no_faster(secret: str, text: str) -> None:
    masks = Masks()
    masks.add(secret)
    masks.hide("once")

    def seconds(length: int) -> float:
        line = (text * length)[:length]
        spent = []
        for _ in range(3):
            began = time.process_time()
            masks.hide(line)
            spent.append(time.process_time() - began)
        return min(spent)

    assert seconds(32_000) < 12 * max(seconds(8_000), 0.001)  # four times as long; sixteen if it were squared


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GH_PAT2", "0123456789"),
        ("PGPASSWORD", "hunter-2"),
        ("SSHPASS", "hunter-2"),
        ("HFTOKEN", "0123456789"),
        ("DEPLOY_KEY", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("MY_SECRETS", "one two three"),
        ("SLACK_WEBHOOK_URL", "https://example.org/services/T0/B0/x"),
        ("WANDB_API_KEY", "0123456789"),
        ("dbPassword", "123456"),
        ("DB_PWD", "hunter22"),
        ("AZURE_CONNECTION_STRING", "AccountName=a;AccountKey=b"),
        ("SENTRY_DSN", "https://key@sentry.io/1"),
        ("ANYTHING", "ghp_0123456789abcdefghijklmnopqrstuvwxyz"),
        ("GITHUB_TOKENS", "one,two,three"),
        ("MAX_TOKEN", "of a person called Max"),
        ("LIMIT_API_KEY", "0123456789"),
        ("VERSION_TOKEN", "v1.0123456789"),
        ("N8N_ENCRYPTION_KEY", "0123456789"),
        ("TOKEN_LIMIT", "hf_0123456789abcdef"),
        ("AUTHORIZATION_HEADER", "Bearer 8f2c0123"),
        ("COOKIE_HEADER", "session=8f2c0123"),
        ("SECRET_STORE", "hunter-2 and more"),
        ("API_KEYS_TOTAL", "one,two,three"),
        ("NOTIFY", "https://hooks.slack.com/services/T0/B0/x"),
        ("BLOB", "https://a.blob.core.windows.net/c?sv=1&sig=abc%3D"),
    ],
)
def test_a_variable_that_holds_a_secret_is_known(name: str, value: str) -> None:
    assert value in set(secret_values({name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_TOKENS", "1000000"),
        ("MAX_TOKENS", "4096"),
        ("MAX_TOKENS", "unlimited"),
        ("MAX_NEW_TOKENS", "2048"),
        ("TOKENS_PER_SECOND", "1234.5"),
        ("TOKEN_LIMIT", "unlimited"),
        ("TOKEN_LIMIT", "100000000"),
        ("TOKEN_BUDGET", "as many as fit"),
        ("KEYS_COUNT", "1,000,000"),
        ("SECRET_VERSION", "2026-11-29"),
        ("TOKEN_EXPIRATION", "24 hours"),
        ("PASSWORD_POLICY", "twelve letters"),
        ("GIT_CREDENTIALS", "disabled"),
        ("TOKENIZER", "bert-base"),
        ("CACHE_KEY", "linux-py311"),
        ("PUBLIC_KEY", "ssh-ed25519 AAAA"),
        ("SSH_KEY_PATH", "/home/me/.ssh/id"),
        ("KEYCLOAK_URL", "https://example.org"),
        ("PWD", "/home/me/project"),
        ("INPUT_SECRETS", "HF_TOKEN"),
        ("MONKEY", "banana split"),
        ("PATH", "/usr/bin:/bin"),
        ("PASSES", "twelve"),
    ],
)
def test_a_variable_that_holds_none_is_left_alone(name: str, value: str) -> None:
    assert list(secret_values({name: value})) == []


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("postgres://me:s3cr%40t@db/x", ["s3cr%40t", "s3cr@t"]),
        ("https://ghp_token@github.com/x", ["ghp_token"] * 2),
        ("https://ghp_token:x-oauth-basic@github.com", ["x-oauth-basic"] * 2 + ["ghp_token"] * 2),
        ("a redis://:pass:word@r:1 and amqp://u:other@q", ["pass:word"] * 2 + ["other"] * 2),
        ("https://github.com/a@b", []),
        ("ssh://ubuntu@10.0.0.5", []),
        ("postgres://postgres@localhost/db", []),
        ("https://anna@example.org/x", []),
    ],
)
def test_a_password_in_an_address_is_a_secret_whatever_the_variable_is_called(value: str, secret: list[str]) -> None:
    assert list(secret_values({"SOMEWHERE": value})) == secret


def test_a_job_that_prints_many_ranks_fills_no_memory() -> None:
    masks = Masks()
    masks.add("0123456789abcdefghijklmnopqrstuvwxyz" * 3)
    lines = MaskedLines(masks)
    beginning = base64.b64encode(("0123456789abcdefghijklmnopqrstuvwxyz" * 3).encode()).decode()[:60]
    for rank in range(1_000):
        lines.hide(f"(rank {rank}) {beginning}")
    assert 0 < len(lines._expected) <= 64
