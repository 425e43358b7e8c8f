"""GitHub's OIDC token: the identity of this job, signed by GitHub, for one audience and a few minutes.

As GitHub documents it ("OpenID Connect reference", and @actions/core's getIDToken): GET the request URL with the
audience, the request token as bearer. The answer is JSON whose `value` is the token. The request token goes to that
address alone, because it is worth as much as the token. So a redirect is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from cvl_ci.clouds.credential_provider import ALLOW_OIDC
from cvl_ci.errors import CredentialsError

SECONDS = 20
MOST_BYTES = 64 << 10
"""The most bytes of the answer: a token has a few thousand."""


def request_url(environ: Mapping[str, str], audience: str) -> str:
    return f"{environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={quote(audience, safe='')}"


def id_token(environ: Mapping[str, str], audience: str) -> str:
    if not environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") or not environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        raise CredentialsError("This job has no right to GitHub's OIDC token.", next_step=f"To get it, {ALLOW_OIDC}.")
    url = request_url(environ, audience)
    if urlsplit(url).scheme not in {"http", "https"}:
        raise CredentialsError("GitHub's OIDC request URL is not an HTTP address.")
    token = _value(url, environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
    if not isinstance(token, str) or not token or not token.isascii() or token.split() != [token]:
        raise _no_token("its answer holds no token")
    return token


def _value(url: str, request_token: str) -> object:
    """Return the answer's `value`. Raises CredentialsError without an exception's own text, which may hold a secret."""
    from cvl_ci import bounded

    bearer = f"Bearer {request_token}"
    try:
        with bounded.session(authorization=bearer, most_bytes=MOST_BYTES, seconds=SECONDS) as session:
            headers = {"Accept": "application/json"}
            answer = session.get(url, headers=headers, timeout=SECONDS, allow_redirects=False)
            document = bounded.parsed(answer.content) if answer.status_code == 200 else None
    except (bounded.OutOfBounds, bounded.NoJson) as error:
        raise _no_token(str(error)) from None
    except Exception as error:  # noqa: BLE001  requests, urllib3, idna and the socket have too many errors to name
        raise _no_token(type(error).__name__) from None
    if answer.status_code != 200:
        raise _no_token(f"it answered {answer.status_code} {answer.reason}")
    return document.get("value") if isinstance(document, dict) else None


def _no_token(why: str) -> CredentialsError:
    return CredentialsError(f"GitHub gave no OIDC token: {why}.", next_step="Run it again in a minute.")
