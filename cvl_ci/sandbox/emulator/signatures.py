"""AWS Signature Version 4, verified: the emulated API answers only requests signed with a key of this sandbox.

The rules: "Create a signed AWS API request", AWS Identity and Access Management User Guide. It compares no clocks.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import posixpath
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape

from cvl_ci.sandbox.keys import AccessKey, Keys, new_key

ALGORITHM = "AWS4-HMAC-SHA256"
LARGEST_BODY = 16 << 20
"""The largest body, in bytes, whose signature this module checks.

Objects in a bucket are signed by their own header.
"""


@dataclass(frozen=True, kw_only=True)
class MachineKey:
    """The credentials that the metadata service gives to one machine."""

    key: AccessKey
    token: str = field(repr=False)
    instance: str


class Keyring:
    """All keys of this sandbox. `alive`: whether an instance is still a machine."""

    def __init__(self, keys: Keys, *, alive: Callable[[str], bool]) -> None:
        self._account_keys = {key.id: key for key in (keys.client, keys.witness)}
        self._alive = alive
        self._machines: dict[str, MachineKey] = {}
        self._lock = threading.Lock()

    def of_machine(self, instance: str) -> MachineKey:
        """Return the key of one machine, the same for each request."""
        with self._lock:
            if instance not in self._machines:
                key = new_key("ASIA")
                self._machines[instance] = MachineKey(key=key, token=secrets.token_urlsafe(48), instance=instance)
            return self._machines[instance]

    def secret(self, key_id: str, token: str) -> str | None:
        """Return the secret of a key. A machine's key is valid with its token only, and while its machine is alive."""
        if key_id in self._account_keys:
            return self._account_keys[key_id].secret
        with self._lock:
            machine_key = next((candidate for candidate in self._machines.values() if candidate.key.id == key_id), None)
        if machine_key is None or not hmac.compare_digest(machine_key.token.encode(), token.encode()):
            return None
        return machine_key.key.secret if self._alive(machine_key.instance) else None


@dataclass(frozen=True, kw_only=True)
class _Signed:
    """The signature part of a request. `scope`: date, region, service, `aws4_request`."""

    key: str
    scope: tuple[str, ...]
    headers: tuple[str, ...]
    signature: str
    date: str
    token: str
    payload: str | None = None
    """The hash of the body, where the request names it."""

    @property
    def service(self) -> str:
        return self.scope[2]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error in the words of AWS."""

    status: str
    service: str
    code: str
    message: str

    def body(self) -> tuple[str, bytes]:
        """Return content type and body, in the shape of the service."""
        error = f"<Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
        request = secrets.token_hex(16)
        if self.service == "s3":
            text = f"<Error>{error}<RequestId>{request}</RequestId></Error>"
        elif self.service == "ec2":
            text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>{request}</RequestID></Response>"
        else:
            head = "<ErrorResponse><Error><Type>Sender</Type>"
            text = f"{head}{error}</Error><RequestId>{request}</RequestId></ErrorResponse>"
        return "text/xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def refusal(environ: dict[str, Any], keyring: Keyring) -> Refusal | None:
    """Return the reason to refuse a request, or None for a correct signature."""
    try:
        signed = _read(environ)
    except (ValueError, IndexError, KeyError):
        signed = None
    if signed is None:
        service = "s3" if environ.get("HTTP_HOST", "").startswith("s3.") else "ec2"
        return Refusal(
            status="403 Forbidden",
            service=service,
            code="MissingAuthenticationToken",
            message="Request is missing Authentication Token",
        )
    secret = keyring.secret(signed.key, signed.token)
    if secret is None:
        return _refused(signed.service, is_known=False)
    if not hmac.compare_digest(_signature(environ, signed, secret).encode(), signed.signature.encode()):
        return _refused(signed.service, is_known=True)
    return None


def _refused(service: str, *, is_known: bool) -> Refusal:
    if service == "ec2":  # one answer for both, with this status
        text = "AWS was not able to validate the provided access credentials"
        return Refusal(status="401 Unauthorized", service=service, code="AuthFailure", message=text)
    if is_known:
        text = "The request signature we calculated does not match the signature you provided."
        return Refusal(status="403 Forbidden", service=service, code="SignatureDoesNotMatch", message=text)
    code = "InvalidAccessKeyId" if service == "s3" else "InvalidClientTokenId"
    text = "The security token included in the request is invalid."
    return Refusal(status="403 Forbidden", service=service, code=code, message=text)


def _read(environ: Mapping[str, Any]) -> _Signed | None:
    authorization = str(environ.get("HTTP_AUTHORIZATION", ""))
    if authorization.startswith(ALGORITHM):
        fields = dict(part.strip().split("=", 1) for part in authorization.removeprefix(ALGORITHM).split(","))
        key, *scope = fields["Credential"].split("/")
        date = str(environ.get("HTTP_X_AMZ_DATE") or environ["HTTP_DATE"])
        token = str(environ.get("HTTP_X_AMZ_SECURITY_TOKEN", ""))
        payload = environ.get("HTTP_X_AMZ_CONTENT_SHA256")
        headers, signature = fields["SignedHeaders"], fields["Signature"]
    else:
        fields = {name: unquote(value) for name, _, value in _query(environ)}
        if fields.get("X-Amz-Algorithm") != ALGORITHM:
            return None
        key, *scope = fields["X-Amz-Credential"].split("/")
        date, token = fields["X-Amz-Date"], fields.get("X-Amz-Security-Token", "")
        headers, signature = fields["X-Amz-SignedHeaders"], fields["X-Amz-Signature"]
        payload = "UNSIGNED-PAYLOAD" if scope[2] == "s3" else None
    if len(scope) != 4 or "host" not in headers.split(";"):
        return None
    return _Signed(
        key=key,
        scope=tuple(scope),
        headers=tuple(headers.split(";")),
        signature=signature,
        date=date,
        token=token,
        payload=payload if scope[2] == "s3" else None,
    )


def _signature(environ: dict[str, Any], signed: _Signed, secret: str) -> str:
    path = urlsplit(str(environ["RAW_URI"])).path or "/"
    if signed.service != "s3":
        trailing = "/" if path.endswith("/") and path != "/" else ""
        path = quote(posixpath.normpath(path).replace("//", "/"), safe="/~") + trailing
    query = sorted((name, value) for name, _, value in _query(environ) if name != "X-Amz-Signature")
    headers = [f"{name}:{' '.join(_header(environ, name).split())}\n" for name in signed.headers]
    canonical = "\n".join(
        (
            str(environ["REQUEST_METHOD"]),
            path,
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            ";".join(signed.headers),
            signed.payload or _hash_of_body(environ),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join((ALGORITHM, signed.date, "/".join(signed.scope), digest))
    key = f"AWS4{secret}".encode()
    for part in signed.scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _query(environ: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    query = urlsplit(str(environ["RAW_URI"])).query.replace("+", "%20")
    return [part.partition("=") for part in query.split("&") if part]


def _header(environ: Mapping[str, Any], name: str) -> str:
    plain = name.upper().replace("-", "_")
    return str(environ.get(plain if plain in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{plain}", ""))


def _hash_of_body(environ: dict[str, Any]) -> str:
    """Read the body, and put it back for the next reader."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(min(length, LARGEST_BODY)) if length > 0 else b""
    if length > 0:
        environ["wsgi.input"] = io.BytesIO(body)
    return hashlib.sha256(body).hexdigest()
