"""Certificates that a test makes with OpenSSL, once for each process of the tests."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAME = "models.example.com"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, as PEM."""

    cert: str
    key: str


@functools.cache
def pair(
    *,
    names: str = f"DNS:{NAME}",
    days: int = 30,
    kind: str = "ec",
    key_usage: str = "",
) -> Pair:
    """Return a certificate that signs itself. `days`: from now until its end."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["-newkey", kind]
    extra = [f"subjectAltName={names}"] if names else []
    extra += [f"extendedKeyUsage={key_usage}"] if key_usage else []
    with tempfile.TemporaryDirectory() as folder:
        cert_file, key_file = Path(folder) / "cert.pem", Path(folder) / "key.pem"
        words = [
            *("openssl", "req", "-x509", "-nodes", "-subj", f"/CN={NAME}", "-days", str(days)),
            *("-keyout", str(key_file), "-out", str(cert_file), *key),
            *(word for one in extra for word in ("-addext", one)),
        ]
        subprocess.run(words, check=True, capture_output=True)
        return Pair(cert=cert_file.read_text(), key=key_file.read_text())


@functools.cache
def signed(*, names: str = f"DNS:{NAME}", by: Pair) -> Pair:
    """Return a certificate that another one signs."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("cert", "key", "ca", "ca-key")}
        files["ca"].write_text(by.cert)
        files["ca-key"].write_text(by.key)
        words = [
            *("openssl", "req", "-x509", "-nodes", "-subj", "/CN=signed", "-addext", f"subjectAltName={names}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-CA", str(files["ca"])),
            *("-CAkey", str(files["ca-key"]), "-keyout", str(files["key"]), "-out", str(files["cert"])),
        ]
        subprocess.run(words, check=True, capture_output=True)
        return Pair(cert=files["cert"].read_text(), key=files["key"].read_text())


def encrypted(key: str) -> str:
    """Return a key with a passphrase."""
    words = ["openssl", "pkcs8", "-topk8", "-passout", "pass:word"]
    return subprocess.run(words, input=key, check=True, capture_output=True, text=True).stdout
