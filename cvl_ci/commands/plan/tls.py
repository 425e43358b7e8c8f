"""Read the certificate and the key of a service as its inputs give them, and find all their mistakes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.deploy_inputs import DeployInputs
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Spelling
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import TlsPlan
from cvl_ci.planning import certificate

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

HIDDEN = "***"
_PEM = "-----BEGIN"
Value = TypeVar("Value")


def read(
    inputs: DeployInputs, *, now: float, until: float, spelling: Spelling
) -> tuple[TlsPlan | None, list[InputProblem]]:
    """Return the certificate of a service, and all mistakes. None: it has none, or a wrong one.

    `until`: the latest end of the service. Both moments are seconds since the epoch.
    """
    mistakes: list[InputProblem] = []
    cert, key, domain = inputs.tls_cert, inputs.tls_key, inputs.domain
    texts = {"tls_cert": cert, "tls_key": key.reveal() if key is not None else ""}
    if not any(texts.values()) and not domain:
        return None, []

    def attempt(name: str, act: Callable[[], Value], value: str = "") -> Value | None:
        try:
            return act()
        except Wrong as wrong:
            text = value or _display(name, texts[name], spelling)
            mistakes.append(InputProblem(field=spelling.of(name), value=text, problem=wrong.problem))
            return None

    for name in (name for name, text in texts.items() if not text):
        problem = "is missing: a service with HTTPS needs its certificate and its key"
        mistakes.append(InputProblem(field=spelling.of(name), value="", problem=problem))
    chain_text = attempt("tls_cert", lambda: text_of(texts["tls_cert"], spelling)) if cert else None
    chain = attempt("tls_cert", lambda: certificate.read_chain(chain_text or "")) if chain_text is not None else None
    key_text = attempt("tls_key", lambda: text_of(texts["tls_key"], spelling)) if key is not None else None
    own_key = attempt("tls_key", lambda: certificate.read_key(key_text or "")) if key_text is not None else None
    if chain is None:
        return None, mistakes
    attempt("tls_cert", lambda: certificate.check_dates(chain, now=now, until=until))
    if domain:
        attempt("domain", lambda: certificate.check_name(chain, domain), domain)
    if own_key is not None:
        attempt("tls_key", lambda: certificate.check_fit(chain, own_key))
    if own_key is not None and not mistakes:
        mistakes += _disagreements(chain, own_key, inputs, spelling)
    if mistakes or own_key is None:
        return None, mistakes
    return TlsPlan(chain=certificate.as_pem(chain), key=Secret(own_key), domain=domain), []


def _disagreements(
    chain: Sequence[Certificate], key: str, inputs: DeployInputs, spelling: Spelling
) -> list[InputProblem]:
    """Return the mistake for which a client refuses the certificate: with its key, or for its name."""
    field, value = "tls_cert", _display("tls_cert", inputs.tls_cert, spelling)
    try:
        certificate.check_agreement(chain, key)
        if inputs.domain:
            field, value = "domain", inputs.domain
            certificate.check_agreement(chain, key, domain=inputs.domain)
    except Wrong as wrong:
        return [InputProblem(field=spelling.of(field), value=value, problem=wrong.problem)]
    return []


def text_of(value: str, spelling: Spelling) -> str:
    """Return the PEM text that an input gives: itself in a workflow, and a file's at a terminal. Raise Wrong.

    A key on a command line would be readable for each program of this computer.
    """
    if _PEM in value:
        if spelling is Spelling.FLAG:
            raise Wrong("is the text itself, which every program here could read: name its file")
        return value
    if spelling is Spelling.INPUT:
        raise Wrong("is not PEM: give the text itself, from a secret")
    try:
        with Path(value).expanduser().open("rb") as file:
            content = file.read(certificate.LARGEST_BYTES + 1)
    except (OSError, ValueError, RuntimeError):
        raise Wrong("is not a file that cvl-ci can read") from None
    if len(content) > certificate.LARGEST_BYTES:
        raise Wrong(f"has more than {certificate.LARGEST_BYTES >> 10} KiB")
    return content.decode("utf-8", "replace")


def secret_of(inputs: DeployInputs) -> tuple[str, ...]:
    """Return the text to hide before the key is read. Empty: it names a file, whose name may be visible."""
    text = inputs.tls_key.reveal() if inputs.tls_key is not None else ""
    try:
        return () if not text or Path(text).expanduser().exists() else (text,)
    except (OSError, ValueError, RuntimeError):
        return (text,)


def _display(name: str, value: str, spelling: Spelling) -> str:
    """Return the name of a certificate's file. A key is never shown: somebody may give it without its PEM frame."""
    is_file = name == "tls_cert" and spelling is not Spelling.INPUT
    return value if is_file and 0 < len(value) < 300 and value.isprintable() and _PEM not in value else HIDDEN
