"""GitHub's OIDC token: who this job is, signed by GitHub, for one audience and a few minutes.

As GitHub documents it ("OpenID Connect reference", and @actions/core's getIDToken): GET the request URL with the
audience, the request token as bearer; the answer is JSON whose `value` is the token.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from cvl_ci.engine.credentials.kind import ALLOW_OIDC
from cvl_ci.errors import CredentialsError

SECONDS = 20


def request_url(environ: Mapping[str, str], audience: str) -> str:
    return f"{environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={quote(audience, safe='')}"


def id_token(environ: Mapping[str, str], audience: str) -> str:
    if not environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") or not environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        raise CredentialsError("This job may not have GitHub's OIDC token.", next_step=f"To have it, {ALLOW_OIDC}.")
    url = request_url(environ, audience)
    if urlsplit(url).scheme not in {"http", "https"}:
        raise CredentialsError("GitHub's OIDC request URL is no http address.")
    bearer = {"Authorization": f"Bearer {environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}", "Accept": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=bearer), timeout=SECONDS) as answer:  # noqa: S310
            token = json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        error.close()
        raise _no_token(f"it answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise _no_token(f"{type(error).__name__}: {error}") from None
    return str(token)


def _no_token(why: str) -> CredentialsError:
    return CredentialsError(f"GitHub gave no OIDC token: {why}.", next_step="Run it again in a minute.")
