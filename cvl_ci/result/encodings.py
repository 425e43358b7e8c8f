"""Encode a value in every way in which a program is likely to write it: a secret can reach a log in each of them.

They include the encoders of GitHub's own runner (src/Sdk/DTLogging/Logging/ValueEncoders.cs).
"""

from __future__ import annotations

import base64
import html
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

SHORTEST = 6
"""A shorter value is not masked: it would turn every log into stars."""

_UNQUOTED = ("", "/", "!'()*", "!*'();:@&=+$,/?#", "!$&'()*+,;=", "!$&'()*+,;=:@", "!$&'()*+,;=:@/", "!$&'()*+,;=:@/?")
"""Signs that UriDataEscape, Python's quote, encodeURIComponent, encodeURI, and clients' users and paths leave alone."""
_IN_JSON = ("", "&<>", "&<>'", "&<>'+\"`")
"""Signs that programs write by number: most programs; Go and Rails; PHP; .NET."""
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_BASH = frozenset(" \t'\"\\|&;()<>!{}*[]?^$`,")
"""Signs before which `printf %q` puts a backslash (lib/sh/shquote.c)."""


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Flags for the neighbours of a form: whether the sign before or after it holds a few bits of the value as well."""

    before: bool = False
    after: bool = False


SHARP = Edges()


def encoded(value: str) -> Iterator[tuple[str, Edges]]:
    """Yield every form of a value with its edges, the value itself first."""
    for form in (
        value,
        *_in_urls(value),
        *_in_json(value),
        *_in_xml(value),
        *_quoted(value),
        *_cut(value),
        *_hex(value),
    ):
        if len(form) >= SHORTEST:
            yield form, SHARP
    for encoding in ("utf-8", "utf-16-le"):  # PowerShell's -EncodedCommand takes the second
        yield from _in_base64(value.encode(encoding, "surrogatepass"))


def _in_urls(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "replace")
    once = [quote(raw, safe=safe) for safe in _UNQUOTED]
    plus = [quote_plus(raw, safe=safe) for safe in ("", "*")]
    tilde = [form.replace("~", "%7E") for form in (*once[:2], *plus)]
    twice = [quote(form, safe="") for form in (*once[:2], plus[0])]
    for form in (*once, *plus, *tilde, *twice):
        yield form
        yield _lower_escapes(form)
    data = value.replace("%", "%25")  # a workflow command's data, and its properties
    yield from (data, data.replace(":", "%3A").replace(",", "%2C"))


def _lower_escapes(form: str) -> str:
    head, *rest = form.split("%")
    return "%".join((head, *(part[:2].lower() + part[2:] for part in rest)))


def _in_json(value: str) -> Iterator[str]:
    for highest in (126, 0x10FFFF):
        for signs in _IN_JSON:
            for digits in ("04x", "04X"):
                form = "".join(_json_sign(sign, signs, highest, digits) for sign in value)
                yield from (form, form.replace("/", "\\/"))
        once = json.dumps(value, ensure_ascii=highest == 126)[1:-1]
        yield json.dumps(once, ensure_ascii=highest == 126)[1:-1]
    yield from (repr(value)[1:-1], repr(value.encode("utf-8", "surrogatepass"))[2:-1])


def _json_sign(sign: str, by_number: str, highest: int, digits: str) -> str:
    if sign in _SHORT and sign not in by_number:
        return _SHORT[sign]
    if " " <= sign <= chr(highest) and sign not in by_number:
        return sign
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2], 'big'):{digits}}" for at in range(0, len(units), 2))


def _in_xml(value: str) -> Iterator[str]:
    text = html.escape(value, quote=False)
    for double in ('"', "&quot;", "&#34;"):
        for single in ("'", "&apos;", "&#39;", "&#x27;", "&#039;"):
            form = text.replace('"', double).replace("'", single)
            yield form
            yield form.encode("ascii", "xmlcharrefreplace").decode()
    strict = html.escape(value).replace("&#x27;", "&#39;")  # Mustache and Handlebars
    yield strict.replace("/", "&#x2F;").replace("`", "&#x60;").replace("=", "&#x3D;")


def _quoted(value: str) -> Iterator[str]:
    """Yield the value as shells, expressions, tables and languages write it, between quotes or without them."""
    yield from (value.replace("'", "''"), value.replace('"', '""'), value.replace("'", "'\\''"))
    yield shlex.quote(value).removeprefix("'").removesuffix("'")
    yield from (value.replace('"', '\\"'), value.replace("'", "\\'"))
    slashes = value.replace("\\", "\\\\")
    yield from (slashes, slashes.replace('"', '\\"'), slashes.replace("'", "\\'"))
    yield slashes.replace('"', '\\"').replace("'", "\\'")
    yield slashes.replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    bare = "".join(f"\\{sign}" if sign in _BASH else sign for sign in value)
    octal = "".join(f"\\{byte:03o}" if byte > 126 else chr(byte) for byte in slashes.encode("utf-8", "surrogatepass"))
    yield from (bare, bare.replace("\\,", ","), octal.replace("'", "\\'"))
    if value[:1] in {"~", "#"}:
        yield f"\\{bare}"
    ticks = "".join(f"`{sign}" if sign in '`"$' else sign for sign in value)  # PowerShell
    yield from (ticks, ticks.replace("'", "`'"))
    yield "".join(f"^{sign}" if sign in '^&|<>()"%!' else sign for sign in value)  # cmd.exe


def _cut(value: str) -> Iterator[str]:
    """Yield the value without quotes around it, and the sections that PowerShell shows of a value with an ampersand.

    PowerShell shows two sections in different colours.
    """
    if len(value) > 8 and value[0] == value[-1] and value[0] in "\"'":
        yield value[1:-1]
    if "&+" in value:
        end = value.index("&+") + 2
        yield from (value[:end], value[end + 1 :])
    elif "&" in value:
        end = value.rindex("&") + 1
        yield from (value[:end], value[end:])


def _hex(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "surrogatepass")
    for form in (raw.hex(), raw.hex(" "), raw.hex(":"), raw.hex(" ", -2)):
        yield from (form, form.upper())


def _in_base64(raw: bytes) -> Iterator[tuple[str, Edges]]:
    """Yield the value as it stands in the base64 of a text that holds it after no, one or two other bytes.

    GitHub's runner looks for it without its first bytes: yield that form too.
    """
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw).decode()
        sure, after = (len(raw) + shift) * 8 // 6, (len(raw) + shift) % 3 > 0
        yield from _both_alphabets(text[-(-shift * 8 // 6) : sure], Edges(before=shift > 0, after=after))
        yield from _both_alphabets(text[4:sure] if shift else "", Edges(after=after))


def _both_alphabets(inner: str, edges: Edges) -> Iterator[tuple[str, Edges]]:
    if len(inner) >= SHORTEST:
        yield inner, edges
        yield inner.translate(str.maketrans("+/", "-_")), edges
