"""Recognize variables that hold a secret: by their names, and by the form of some values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol
from urllib.parse import unquote, urlsplit

from cvl_ci.inputs.action_variables import variable

_SECRET_WORDS = re.compile(
    r"SECRETS?|TOKENS?|PASSWORDS?|PASSWD|PASS|PASSPHRASE|PWD|PATS?|CREDENTIALS?|CREDS|APIKEY|AUTHORIZATION|BEARER"
    r"|COOKIE|WEBHOOKS?|DSN|JWT|PEM|NETRC|DOCKERCONFIGJSON|SAS|PIN|OTP|TOTP"
)
_SECRET_ENDING = re.compile(r"SSHPASS|.+(?:PASSWORD|PASSWD|TOKEN|SECRET|APIKEY|SECRETKEY|ACCESSKEY|PRIVATEKEY)")
"""Endings of names without separators, such as PGPASSWORD."""
_KEY = re.compile(r"KEYS?")
_NO_SECRET_KEY = re.compile(r"PUBLIC|CACHE|SORT|PRIMARY|FOREIGN|PARTITION|DICT|MAP|INDEX|KNOWN")
"""A key with such a word in its name opens nothing."""
_POINTER = re.compile(r"FILE|PATH|URL|URI|DIR|ID|NAME|ARN|ENDPOINT|HOST|PORT|USER|REGION|PROVIDER")
"""The last word of a variable that names the place of a secret and not the secret."""
_PROPERTY = re.compile(
    r"TTL|EXPIRY|EXPIRES|EXPIRATION|AGE|TIMEOUT|LENGTH|SIZE|TYPE|LIMITS?|BUDGET|COUNT|RATE|WINDOW|MAX|MIN|PER|SECONDS"
    r"|POLICY|SCOPES?|AUDIENCE|ISSUER|ALGORITHM|FORMAT|VERSION|MODE|ENABLED|DISABLED|REQUIRED|PREFIX|SUFFIX"
)
"""The last word of a variable that describes a secret, or limits their number."""
_COUNTED = re.compile(r"TOKENS|KEYS|MAX|MIN|NUM|COUNT")
_SETTINGS = frozenset({"unlimited", "infinity", "default", "enabled", "disabled", "required", "optional", "automatic"})
"""Values of switches. A mask for such a word hides it in every line and protects nothing."""
_CONNECTION = re.compile(r"CONNECTIONSTRING|CONNSTR")
_NOT_THEMSELVES = frozenset({"PWD", "OLDPWD", variable("secrets"), variable("env")})
"""The working directory, and the action's inputs that hold both names and values: their parser separates these."""
_NUMBER = re.compile(r"[\d.,_eE+-]+")
_SHAPES = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY"
    r"|^(?:gh[pousr]_|github_pat_|hf_|glpat-|xox[abeprs]-|sk-|sk_live_|rk_live_|npm_|pypi-|dop_v1_|AIza|eyJ[\w-]+\.eyJ)"
    r"|^https://(?:hooks\.slack\.com/|discord(?:app)?\.com/api/webhooks/|[\w.-]+\.webhook\.office\.com/)"
    r"|[?&](?:sig|signature|token|access_token|api_?key|X-Amz-Signature)=",
)
"""Prefixes that services give to their keys so that scanners know them, webhooks, and signed addresses."""


class _Secret(Protocol):
    def reveal(self) -> str: ...


class SecretInputs(Protocol):
    """The variables of a request, or of the plan that cvl-ci built from it."""

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def secrets(self) -> Mapping[str, _Secret]: ...


def secrets_of(request: SecretInputs) -> Iterator[str]:
    """Yield a run's secrets, and the plain variables whose names mark them as secret."""
    yield from (secret.reveal() for secret in request.secrets.values())
    yield from secret_values(request.env)


def secret_values(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the values to hide of these variables: the whole value, and the password of a URL."""
    for name, value in environment.items():
        if name.upper() in _NOT_THEMSELVES:
            continue
        if _is_secret_name(name, value) or _SHAPES.search(value):
            yield value
        if "://" in value:
            yield from _passwords(value)


def _is_secret_name(name: str, value: str) -> bool:
    words = [word.rstrip("0123456789") or word for word in _words(name)]
    if not words or (_POINTER.fullmatch(words[-1]) and "WEBHOOK" not in words):
        return False
    if _PROPERTY.fullmatch(words[-1]) or value.strip().lower() in _SETTINGS:
        return False
    if _NUMBER.fullmatch(value) and any(map(_COUNTED.fullmatch, words)):
        return False  # MAX_TOKENS
    if (
        any(map(_SECRET_WORDS.fullmatch, words))
        or any(map(_SECRET_ENDING.fullmatch, words))
        or _CONNECTION.fullmatch("".join(words[-2:]))
    ):
        return True
    return any(map(_KEY.fullmatch, words)) and not any(map(_NO_SECRET_KEY.fullmatch, words))


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in re.split(r"[^A-Z0-9]+", apart.upper()) if word]


def _passwords(value: str) -> Iterator[str]:
    """Yield the password of each URL in a value, encoded as in the URL and decoded."""
    for address in re.findall(r"[A-Za-z][\w+.-]*://[^\s/?#]*@", value):
        try:
            password = urlsplit(address).password
        except ValueError:
            continue
        user, _, _ = address.rpartition("@")[0].partition("://")[2].partition(":")
        # GitHub takes a token as the user, alone or with a word for a password. In addresses of ssh and databases the
        # user is a name.
        alone = not password and re.match(r"(?:git\+)?https?:", address) and (_SHAPES.search(user) or len(user) >= 20)
        for secret in (password, user if alone or password == "x-oauth-basic" else None):  # noqa: S105
            if secret:
                yield from (secret, unquote(secret))
