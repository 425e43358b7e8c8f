"""Check the certificate of a service and its key, before anything is spent. Text only; it asks no network."""

from __future__ import annotations

import datetime as dt
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cvl_ci.inputs.parsers import Wrong

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LARGEST_BYTES = 256 << 10
"""The longest text of a chain or a key."""
MOST_CERTIFICATES = 20
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)


def read_chain(text: str) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM text, in their order. Raise Wrong. Other parts of the text are left out."""
    from cryptography import x509

    blocks = _CERTIFICATE.findall(text)
    if not blocks or len(blocks) > MOST_CERTIFICATES:
        raise Wrong(f"holds {len(blocks)} certificates as PEM, and needs 1 to {MOST_CERTIFICATES}")
    try:
        chain = tuple(x509.load_pem_x509_certificate(block.encode()) for block in blocks)
    except ValueError:
        raise Wrong("holds a certificate that cannot be read as PEM") from None
    except Exception as error:  # noqa: BLE001  x509.InvalidVersion and the others have no common base
        raise _odd(error) from None
    for one in chain:
        try:
            _ = one.version, one.extensions, one.not_valid_before_utc, one.not_valid_after_utc, _public_of(one)
        except Exception as error:  # noqa: BLE001  as above: each part is read at its first use alone
            raise _odd(error) from None
    return chain


def read_key(text: str) -> str:
    """Return the private key of a PEM text as PEM. Raise Wrong, whose text tells nothing of the key."""
    match = _KEY.search(text)
    if match is None:
        raise Wrong("holds no private key as PEM")
    if "ENCRYPTED" in match[1] or "4,ENCRYPTED" in match[0]:
        raise Wrong("has a passphrase, which the machine would not know: give the key without one")
    try:
        _public(_load(match[0]))
    except (ValueError, TypeError):
        raise Wrong("holds a private key that cannot be read as PEM") from None
    except Exception as error:  # noqa: BLE001  the library's own errors have no common base, and may quote the key
        raise Wrong(f"holds a private key that is not of use here ({type(error).__name__})") from None
    return match[0]


def _odd(error: Exception) -> Wrong:
    return Wrong(f"holds a certificate that is not of use here ({type(error).__name__})")


def as_pem(chain: Sequence[Certificate]) -> str:
    from cryptography.hazmat.primitives import serialization

    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain)


def check_dates(chain: Sequence[Certificate], *, now: float, until: float) -> None:
    """Raise Wrong unless each certificate is valid now, and until the end of the service. Seconds since the epoch."""
    for one in chain:
        first, last = one.not_valid_before_utc, one.not_valid_after_utc
        if first.timestamp() > now:
            raise Wrong(f"is not valid before {_day(first)}")
        if last.timestamp() <= now:
            raise Wrong(f"expired at {_day(last)}")
        if last.timestamp() < until:
            raise Wrong(f"expires at {_day(last)}, before the latest end of the service; shorten ttl, or renew it")


def check_name(chain: Sequence[Certificate], domain: str) -> None:
    """Raise Wrong unless the server's own certificate is for this name. Its common name counts for no client."""
    from cryptography import x509

    try:
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except (x509.ExtensionNotFound, ValueError):
        hosts = []
    wildcard = f"*.{domain.partition('.')[2]}"
    if domain not in hosts and wildcard not in hosts:
        raise Wrong(f"is not a name of the certificate, which has {', '.join(hosts[:5]) or 'none'}")


def check_fit(chain: Sequence[Certificate], key: str) -> None:
    """Raise Wrong unless the key is that of the first certificate."""
    own = _public(_load(key))
    if _public_of(chain[0]) != own:
        is_later = any(_public_of(one) == own for one in chain[1:])
        raise Wrong(
            "fits a later certificate of the chain: the server's own has to be the first"
            if is_later
            else "does not fit the certificate"
        )


def check_agreement(chain: Sequence[Certificate], key: str, *, domain: str = "") -> None:
    """Raise Wrong unless a client that trusts the first certificate accepts it and its key. `domain`: for this name."""
    try:
        _shake_hands(as_pem(chain), key, domain)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or type(error).__name__
        what = "is refused for this certificate" if domain else "is of no use for a server"
        raise Wrong(f"{what}, by OpenSSL: {reason}") from None


def trusting(chain: str, *, checks_name: bool) -> ssl.SSLContext:
    """Return the terms of a client that trusts the first certificate of a chain, and no other one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = checks_name
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=_first(chain))
    return context


def require_first(chain: str, sock: ssl.SSLSocket) -> None:
    """Raise ssl.SSLCertVerificationError unless the other side showed the first certificate of the chain itself.

    OpenSSL accepts each certificate that the trusted one has signed, too.
    """
    if sock.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(_first(chain)):
        raise ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED: the server has another certificate")


def _first(chain: str) -> str:
    """Return the first certificate of a PEM text; empty: it has none."""
    match = _CERTIFICATE.search(chain)
    return match[0] if match else ""


def _shake_hands(chain: str, key: str, domain: str) -> None:
    """Let a client and a server agree in memory. Raise ssl.SSLError, OSError or ValueError."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _in_memory(chain) as chain_file, _in_memory(key) as key_file:
        server.load_cert_chain(chain_file, key_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        trusting(chain, checks_name=bool(domain)).wrap_bio(to_client, to_server, server_hostname=domain or None),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        waiting = []
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(end)
        if not waiting:
            return
    raise ValueError("they do not agree")


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Yield the path of a file that no disk has: `ssl` reads a key from a file alone."""
    descriptor = os.memfd_create("cvl-ci")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _load(key: str) -> Any:
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(key.encode(), password=None)


def _public(key: Any) -> bytes:
    return _spki(key.public_key())


def _public_of(certificate: Certificate) -> bytes:
    return _spki(certificate.public_key())


def _spki(public: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    data: bytes = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return data


def _day(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
