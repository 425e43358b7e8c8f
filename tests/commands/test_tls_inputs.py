"""The certificate of a service is held to everything that could fail later, and one message has all of it."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

import pytest

from cvl_ci.commands.plan import tls
from cvl_ci.errors import InputProblem
from cvl_ci.inputs.deploy_inputs import DeployInputs
from cvl_ci.inputs.reader import Spelling
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import TlsPlan
from tests import golden
from tests.support import certificates
from tests.support.certificates import NAME

MESSAGES = golden.Messages(__name__)

HOUR, DAY = 3600.0, 86400.0


def read(
    cert: str, key: str, domain: str = "", *, spelling: Spelling = Spelling.INPUT, after: float = 0.0
) -> tuple[TlsPlan | None, list[InputProblem]]:
    """Read the inputs of a service of four hours, `after` seconds from now."""
    now = time.time() + after
    inputs = DeployInputs(tls_cert=cert, tls_key=Secret(key) if key else None, domain=domain)
    return tls.read(inputs, now=now, until=now + 4 * HOUR, spelling=spelling)


def problems(*words: str, **options: float) -> list[str]:
    """Return all mistakes in words. No message shows a line of a certificate or a key."""
    plan, mistakes = read(*words, **options)  # type: ignore[arg-type]
    assert plan is None and mistakes
    texts = [str(mistake) for mistake in mistakes]
    hidden = [line for word in words[:2] if "-----" in word for line in word.splitlines() if len(line) > 20]
    assert not any(line[:20] in text for line in hidden for text in texts)
    return texts


@pytest.mark.parametrize("kind", ["ec", "rsa:2048", "ed25519"])
@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (f"DNS:{NAME}", NAME),
        ("DNS:*.example.com,DNS:other", NAME),
        (f"DNS:{NAME.upper()}", NAME),
        (f"DNS:{NAME}", ""),
        ("IP:203.0.113.7", ""),
    ],
)
def test_a_good_certificate_is_a_plan(names: str, domain: str, kind: str) -> None:
    own = certificates.pair(names=names, kind=kind)
    plan, mistakes = read(own.cert, own.key, domain)
    assert (plan is not None, mistakes) == (True, [])
    assert plan == TlsPlan(chain=own.cert, key=Secret(own.key.strip()), domain=domain)
    assert own.key.splitlines()[1] not in repr(plan)


def test_other_parts_of_a_file_go_to_no_machine() -> None:
    own, other = certificates.pair(), certificates.pair(names="DNS:other.example")
    words = f"Bag Attributes\n{own.key}{own.cert}\n# the chain\n{other.cert}"
    plan, _ = read(words, words, NAME)
    assert plan is not None
    assert plan.chain == own.cert + other.cert and plan.key == Secret(own.key.strip())


def test_no_certificate_is_no_mistake() -> None:
    assert read("", "") == (None, [])


@pytest.mark.parametrize("spelling", [Spelling.FLAG, Spelling.KEYWORD])
def test_a_terminal_and_the_library_take_files(tmp_path: Path, spelling: Spelling) -> None:
    own = certificates.pair()
    (tmp_path / "cert.pem").write_text(own.cert)
    (tmp_path / "key.pem").write_text(own.key)
    plan, mistakes = read(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), NAME, spelling=spelling)
    assert plan is not None and mistakes == []
    absent = read(str(tmp_path / "absent"), str(tmp_path), spelling=spelling)[1]
    assert [mistake.problem for mistake in absent] == ["is not a file that cvl-ci can read"] * 2


def test_a_key_on_a_command_line_is_refused_and_not_shown() -> None:
    own = certificates.pair()
    texts = [str(mistake) for mistake in read(own.cert, own.key, spelling=Spelling.FLAG)[1]]
    assert [text.partition(":")[0] for text in texts] == ["--tls-cert", "--tls-key"]
    assert all("'***' is the text itself" in text for text in texts)


@pytest.mark.parametrize("spelling", list(Spelling))
def test_a_key_without_its_frame_is_not_shown(spelling: Spelling) -> None:
    own = certificates.pair()
    key = "".join(own.key.splitlines()[1:-1])
    [told] = read(own.cert, key, spelling=Spelling.INPUT)[1]
    assert told.value == "***" and told.field == "tls_key"
    shown = "".join(str(mistake) for mistake in read(own.cert, key, spelling=spelling)[1])
    assert "***" in shown and key[:20] not in shown
    assert key[:20] not in str(read(key, own.key)[1][0]), "the inputs of a workflow are swapped"


@pytest.mark.parametrize(("names", "domain"), [("DNS:*.lan", "gpu.lan"), ("DNS:*.xn--p1ai", "a.xn--p1ai")])
def test_a_name_that_openssl_refuses_is_found_before_anything_is_spent(names: str, domain: str) -> None:
    own = certificates.pair(names=names)
    [told] = problems(own.cert, own.key, domain)
    refused, by_openssl, _ = told.partition("Hostname mismatch")
    assert by_openssl
    MESSAGES.check("refused by OpenSSL", refused.replace(domain, "DOMAIN").strip())


ODD = {
    "a version": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"),
    "an extension twice": (b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x11"),
    "an unknown curve": (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030163")),
    "an unknown kind of key": (bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0277")),
}
"""Bytes of a good certificate, and others in their place."""


@pytest.mark.parametrize("is_later", [False, True])
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_certificate_is_a_mistake_and_no_crash(kind: str, is_later: bool) -> None:
    own, (old, new) = certificates.pair(), ODD[kind]
    der = ssl.PEM_cert_to_DER_cert(own.cert)
    assert old in der
    odd = ssl.DER_cert_to_PEM_cert(der.replace(old, new, 1))
    told = problems(own.cert + odd if is_later else odd, own.key, NAME)
    assert len(told) == 1 and told[0].startswith("tls_cert: '***' holds a")
    assert "certificate that is not of use here (" in told[0]


def test_a_file_that_never_ends_is_refused() -> None:
    assert "has more than 256 KiB" in str(read("/dev/zero", "/dev/zero", spelling=Spelling.FLAG)[1][0])


@pytest.mark.parametrize(
    ("cert", "key", "domain", "parts"),
    [
        ("", "own", "", ["tls_cert: '' is missing"]),
        ("own", "", "", ["tls_key: '' is missing"]),
        ("", "", NAME, ["tls_cert: '' is missing", "tls_key: '' is missing"]),
        ("own", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "", ["cannot be read as PEM"]),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "own", "", ["cannot be read as PEM"]),
        ("-----BEGIN x", "-----BEGIN y", "", ["holds 0 certificates", "holds no private key"]),
        ("own", "own cert", "", ["tls_key: '***' holds no private key as PEM"]),
        ("own", "locked", "", ["has a passphrase"]),
        ("own", "other", "", ["tls_key: '***' does not fit the certificate"]),
        ("other+own", "own", NAME, ["domain: 'models.example.com' is not a name", "has to be the first"]),
        ("own", "own", "models.example.org", ["is not a name of the certificate, which has models.example.com"]),
        ("own", "own", "a.models.example.com", ["is not a name of the certificate"]),
        ("no names", "no names", NAME, ["is not a name of the certificate, which has none"]),
        ("of a client", "of a client", "", ["tls_cert: '***' is of no use for a server"]),
        ("weak", "weak", "", ["tls_cert: '***' is of no use for a server, by OpenSSL: EE_KEY_TOO_SMALL"]),
    ],
)
def test_each_mistake_is_found_before_anything_is_spent(cert: str, key: str, domain: str, parts: list[str]) -> None:
    own, other = certificates.pair(), certificates.pair(names="DNS:other.example")
    texts = {
        "own": (own.cert, own.key),
        "own cert": ("", own.cert),
        "locked": ("", certificates.encrypted(own.key) if key == "locked" else ""),
        "other": (other.cert, other.key),
        "other+own": (other.cert + own.cert, ""),
    }
    if cert == "no names":
        texts[cert] = vars_of(certificates.pair(names=""))
    elif cert == "of a client":
        texts[cert] = vars_of(certificates.pair(key_usage="clientAuth"))
    elif cert == "weak":
        texts[cert] = vars_of(certificates.pair(kind="rsa:1024"))
    told = problems(texts.get(cert, (cert, ""))[0], texts.get(key, ("", key))[1], domain)
    assert len(told) == len(parts)
    assert all(part in text for part, text in zip(parts, told, strict=True)), told


def vars_of(pair: certificates.Pair) -> tuple[str, str]:
    return pair.cert, pair.key


@pytest.mark.parametrize(
    ("place", "after", "problem"),
    [
        ("own", -DAY, "is not valid before"),
        ("own", 30 * DAY - HOUR, "before the latest end of the service; shorten ttl, or renew it"),
        ("second", 30 * DAY - HOUR, "before the latest end of the service; shorten ttl, or renew it"),
        ("own", 31 * DAY, "expired at"),
        ("second", 31 * DAY, "expired at"),
    ],
)
def test_each_certificate_of_the_chain_lasts_until_the_end_of_the_service(
    place: str, after: float, problem: str
) -> None:
    own, longer = certificates.pair(), certificates.pair(days=300)
    first, cert = (own, own.cert) if place == "own" else (longer, longer.cert + own.cert)
    [told] = problems(cert, first.key, after=after)
    assert problem in told and told.startswith("tls_cert: '***'")


def test_openssl_calls_key_and_certificate_a_pair() -> None:
    own = certificates.pair()
    plan, _ = read(own.cert, own.key, NAME)
    assert plan is not None
    public = [
        subprocess.run(["openssl", *words], input=text, capture_output=True, text=True, check=True).stdout
        for words, text in ((("pkey", "-pubout"), plan.key.reveal()), (("x509", "-pubkey", "-noout"), plan.chain))
    ]
    assert public[0] == public[1] != ""
