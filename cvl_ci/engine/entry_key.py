"""Derive the SSH key of a machine that several runners enter from the secret that their repository keeps.

Each runner computes the same key pair, so none has to be stored. The pair opens the machines of one lease alone. It
tells neither the secret nor the key of another lease.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cvl_ci.model.secret import Secret

_PURPOSE = "cvl-ci: the SSH key of a lease, version 1"


@dataclass(frozen=True, kw_only=True)
class EntryKey:
    """An Ed25519 key pair as OpenSSH writes it (PROTOCOL.key). `private`: without a passphrase."""

    private: Secret
    public: str


def derive(secret: Secret, *, user_id: str, lease: str) -> EntryKey:
    """Return the key pair of a lease. `user_id`: the user hash of the repository.

    The seed is HMAC-SHA256 of the names, keyed with the secret: a pseudorandom function (RFC 2104). An Ed25519 private
    key is any 32 bytes (RFC 8032, 5.1.5).
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    names = repr((_PURPOSE, user_id, lease)).encode()
    seed = hmac.digest(secret.reveal().encode(), names, hashlib.sha256)
    pair = Ed25519PrivateKey.from_private_bytes(seed)
    private = pair.private_bytes(
        encoding=serialization.Encoding.PEM,
        format=serialization.PrivateFormat.OpenSSH,
        encryption_algorithm=serialization.NoEncryption(),
    )
    public = pair.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return EntryKey(private=Secret(private.decode()), public=public.decode())
