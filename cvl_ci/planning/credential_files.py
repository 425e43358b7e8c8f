"""Recognize files that hold credentials: by their names, and by their content if a name alone does not decide."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase, translate

READ_BYTES = 64 * 1024
"""The number of bytes that are read from a file whose name does not decide."""

REASON = "it may hold credentials; `secrets` gives a job those that it needs, and `file_mounts` of a task any file"

HARMLESS = ("*.pub", ".env.example", ".env.sample", ".env.template", ".env.dist", ".env.schema", "example.env")
ALWAYS = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", ".my.cnf", ".htpasswd", ".git-credentials"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk", "*.p12", "*.pfx", "*.jks"),
    *("*.keystore", "*.ppk", "*.kdbx", "*.ovpn", "*.tfstate", "*.tfstate.*", "terraform.tfvars", "*.auto.tfvars"),
    *("credentials.json", "client_secret*.json", "service-account*.json", "service_account*.json", "gha-creds-*.json"),
    *("application_default_credentials.json", "kaggle.json", "secrets.toml", "secrets.yaml", "secrets.yml"),
    *(".databrickscfg", ".terraformrc", ".mylogin.cnf", ".*_history", "credentials.toml", "credentials.yaml"),
    *(
        "credentials.yml",
        "credentials.ini",
        "secrets.json",
        "kubeconfig",
        "*.kubeconfig",
        ".dockercfg",
        ".s3cfg",
        ".boto",
        ".vault-token",
        "rclone.conf",
    ),
)
FOLDERS = (
    *(".aws", ".ssh", ".gnupg", ".kube", ".azure", ".oci", ".config/gcloud", ".config/gh", ".config/rclone"),
    *(".docker/config.json", ".lambda_cloud", ".runpod", ".kaggle", ".huggingface/token", "huggingface/token"),
    *(".sky", ".nebius", ".terraform.d", ".snowflake", ".cargo/credentials", ".gem/credentials", ".config/hub"),
)
_PRIVATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
IF_IT_HOLDS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("*.pem", _PRIVATE),  # a certificate is public
    ("*.crt", _PRIVATE),
    ("*.asc", _PRIVATE),
    ("*.key", re.compile(rb"\A(?!.*-----BEGIN [A-Z0-9 ]*PUBLIC KEY)[\x09\x0a\x0d\x20-\x7e]*\Z", re.DOTALL)),
    (".npmrc", re.compile(rb"_auth|_password", re.IGNORECASE)),
    (".yarnrc.yml", re.compile(rb"npmAuth", re.IGNORECASE)),
    (".pypirc", re.compile(rb"^\s*password\s*[:=]", re.IGNORECASE | re.MULTILINE)),
    ("pip.conf", re.compile(rb"://[^/\s]*:[^/\s]*@")),
    *(
        (f"*{word}*.json", re.compile(rb'"(private_key|client_secret|refresh_token|SecretAccessKey)"\s*:'))
        for word in ("account", "cred", "key", "secret", "token", "auth")
    ),
)


def _any_of(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)))


_IS_HARMLESS, _IS_ALWAYS = _any_of(HARMLESS), _any_of(ALWAYS)
_MAY_HOLD = _any_of(name for name, _ in IF_IT_HOLDS)
"""One expression for each table: a folder may have 100,000 files."""
_IN_FOLDERS = tuple(f"/{name}/" for name in FOLDERS)


def holds_credentials(path: str, begin: Callable[[int], bytes]) -> bool:
    """Return whether a file may hold credentials. `begin`: reads so many of its first bytes. It may raise OSError."""
    *folders, name = path.lower().split("/")
    if _IS_HARMLESS.match(name):
        return False
    is_whole = f"/{'/'.join((*folders, name))}/"
    if _IS_ALWAYS.match(name) or any(pattern_text in is_whole for pattern_text in _IN_FOLDERS):
        return True
    patterns = (
        [pattern for pattern_text, pattern in IF_IT_HOLDS if fnmatchcase(name, pattern_text)]
        if _MAY_HOLD.match(name)
        else []
    )
    if "." not in name.lstrip("."):
        patterns.append(_PRIVATE)
    try:
        content = begin(READ_BYTES) if patterns else b""
    except OSError:
        return True
    return any(pattern.search(content) for pattern in patterns)
