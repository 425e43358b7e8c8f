"""Files that hold credentials are known, and those that only look like it are not taken for them."""

from __future__ import annotations

import pytest

from cvl_ci.planning.credential_files import holds_credentials

KEY = b"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIE\n"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        *(
            (name, b"")
            for name in ("id_rsa", "a/id_ed25519", "x.p12", "x.PFX", ".env", "a/.env.production", "prod.env")
        ),
        *(
            (name, b"")
            for name in (".netrc", ".git-credentials", "gha-creds-0a1b.json", "credentials.json", "x.tfstate")
        ),
        *(
            (name, b"")
            for name in ("service-account.json", "service-account-prod.json", "a/.aws/config", ".kube/config")
        ),
        *((name, b"") for name in (".config/gcloud/x.db", ".docker/config.json", "terraform.tfstate.backup", ".ssh/x")),
        *((name, b"") for name in (".sky/state.db", ".cargo/credentials.toml", ".bash_history", ".databrickscfg")),
        ("server.pem", KEY),
        ("both.pem", CERTIFICATE + KEY),
        ("tls.key", KEY),
        ("api.key", b"0123456789abcdef"),
        ("deploy", b"-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        (".npmrc", b"//registry/:_authToken=x"),
        (".pypirc", b"[pypi]\npassword = x\n"),
        ("my-project-key.json", b'{"type": "service_account", "private_key": "x"}'),
    ],
)
def test_a_file_with_credentials_is_known(path: str, content: bytes) -> None:
    assert holds_credentials(path, lambda limit: content[:limit])


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("id_rsa.pub", b"ssh-rsa AAAA"),
        (".env.example", b"TOKEN="),
        ("ca.pem", CERTIFICATE),
        ("public.key", b"-----BEGIN PUBLIC KEY-----\n"),
        ("slides.key", b"PK\x03\x04\x00\x00"),
        (".npmrc", b"save-exact=true"),
        (".pypirc", b"[pypi]\nusername = x\n"),
        ("tokenizer.json", b'{"version": "1.0"}'),
        ("keypoints.json", b'{"keypoints": [1, 2]}'),
        ("environment.yml", b""),
        ("Dockerfile", b"FROM x"),
        ("docker/config.json", b"{}"),
        ("src/kube/config", b"x"),
    ],
)
def test_a_file_without_them_is_not_taken_for_one(path: str, content: bytes) -> None:
    assert not holds_credentials(path, lambda limit: content[:limit])


def test_a_file_that_cannot_be_read_is_taken_for_one() -> None:
    def refuse(limit: int) -> bytes:
        raise PermissionError

    assert holds_credentials("server.pem", refuse)
