"""A machine for tests: what it has installed is said, nothing is looked up, and GitHub's token is a word."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cvl_ci.clouds.credential_provider import OIDC, Environment


def _private_key() -> str:
    """A real one, since google.auth reads it; of nobody. It is short: each process of the tests makes one."""
    result = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    encoding, style = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return result.private_bytes(encoding, style, serialization.NoEncryption()).decode()


KEY = json.dumps(
    {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "0123456789abcdef",
        "private_key": _private_key(),
        "client_email": "ci@my-project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
)
KUBECONFIG = """
contexts: [{name: gpu, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://192.0.2.1"}}]
users: [{name: u, user: {token: eyJhbGciOiJSUzI1NiJ9}}]
current-context: gpu
"""
PROVIDER = "projects/123/locations/global/workloadIdentityPools/github/providers/repo"
ROLE = "arn:aws:iam::123456789012:role/ci"
WITH_OIDC = {OIDC[0]: "https://example.com/token?api=1", OIDC[1]: "request-token-0123456789"}


def machine(
    home: Path, *, lacks: Collection[str] = (), writes: bool = True, role: bool = False, **given: str
) -> Environment:
    """`given`: variables by name; inputs in small letters."""
    environ = {name if name.isupper() else f"INPUT_{name.upper()}": value for name, value in given.items()}
    return Environment(
        environ={"HOME": str(home), "PATH": "/bin", **environ},
        home=home,
        folder=home / "ours",
        has_program=lambda name: name not in lacks,
        has_module=lambda name: name not in lacks,
        has_instance_role=lambda: role,
        id_token=lambda audience: f"token-for-{audience}",
        writes=writes,
    )
