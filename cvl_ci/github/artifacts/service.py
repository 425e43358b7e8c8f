"""The results service: an artifact is created, gets a signed URL to fill, and is finalized with its size and hash."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import parse_qs, quote, urlsplit

from cvl_ci.errors import ArtifactError
from cvl_ci.github.artifacts.http import STILL_THERE, Answer, Http, settled

SERVICE = "/twirp/github.actions.results.api.v1.ArtifactService/"
VERSION = 4
"""A zip without a media type: every server accepts it. 7 is for a single file that is not a zip."""
OUR_OWN = ("github.com", ".ghe.com", ".localhost")


class NameTaken(Exception):
    """This run has an artifact of that name."""


class QuotaUsedUp(Exception):
    """The account's storage for artifacts is full; asking again does not help."""


@dataclass(frozen=True, kw_only=True)
class ArtifactServiceAccess:
    """Where the service is and who we are to it. The token is known to the runner alone."""

    origin: str
    token: str = field(repr=False)
    run: str
    job: str


def access(environ: Mapping[str, str]) -> ArtifactServiceAccess | str:
    """From what the runner sets, or in words why there is no such service here."""
    server = (urlsplit(environ.get("GITHUB_SERVER_URL") or "https://github.com").hostname or "").lower()
    if server != OUR_OWN[0] and not server.endswith(OUR_OWN[1:]):
        return f"{server} is a GitHub Enterprise Server, which has no service for artifacts of this kind"
    url, token = environ.get("ACTIONS_RESULTS_URL", ""), environ.get("ACTIONS_RUNTIME_TOKEN", "")
    if not url or not token:
        return "the runner offers no service for artifacts (ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN)"
    ids = _backend_ids(token)
    if ids is None:
        return "the runner's token is not one for artifacts"
    parts = urlsplit(url)
    return ArtifactServiceAccess(origin=f"{parts.scheme}://{parts.netloc}", token=token, run=ids[0], job=ids[1])


class Service:
    """Client of the results service. `mask`: gets every secret before any other use."""

    def __init__(self, access: ArtifactServiceAccess, *, http: Http, mask: Callable[[str], None]) -> None:
        self._access = access
        self._http = http
        self._mask = mask
        mask(access.token)

    def create(self, name: str, *, expires_at: float | None) -> str:
        """Create an artifact and return the signed URL for its upload. Raises NameTaken, QuotaUsedUp."""
        options: dict[str, object] = {"version": VERSION}
        if expires_at is not None:
            options["expires_at"] = _timestamp(expires_at)
        reply = self._call("CreateArtifact", name, options)
        url = reply.get("signed_upload_url") or reply.get("signedUploadUrl")
        if not isinstance(url, str) or not url:
            raise _refused("CreateArtifact", "no place to upload to")
        for secret in signatures(url):
            self._mask(secret)
        return url

    def finalize(self, name: str, *, size: int, sha256: str) -> int:
        reply = self._call("FinalizeArtifact", name, {"size": str(size), "hash": f"sha256:{sha256}"})
        number = reply.get("artifact_id", reply.get("artifactId"))
        try:
            return int(str(number))
        except ValueError:
            raise _refused("FinalizeArtifact", "no number of the artifact") from None

    def _call(self, method: str, name: str, fields: Mapping[str, object]) -> Mapping[str, object]:
        ids = {"workflow_run_backend_id": self._access.run, "workflow_job_run_backend_id": self._access.job}
        answer = self._http.ask(
            "POST",
            f"{self._access.origin}{SERVICE}{method}",
            what=method,
            headers={"Authorization": f"Bearer {self._access.token}", "Content-Type": "application/json"},
            body=json.dumps({**ids, "name": name, **fields}).encode(),
            final=lambda response: _over_quota(response) or (settled(response) and _object(response) is not None),
        )
        if _over_quota(answer):
            raise QuotaUsedUp
        if answer.status == 409 and method == "CreateArtifact":
            raise NameTaken(name)
        reply = _object(answer) or {}
        if not answer.good or reply.get("ok") is not True:
            raise _refused(method, f"answer {answer.status} {str(reply.get('code', ''))[:40]}".rstrip())
        return reply


def signatures(url: str) -> list[str]:
    """Each form in which the URL's signature may be written."""
    raw = [part.partition("=")[2] for part in urlsplit(url).query.split("&") if part.lower().startswith("sig=")]
    plain = parse_qs(urlsplit(url).query).get("sig", [])
    return sorted({form for one in [*raw, *plain] for form in (one, quote(one, safe="")) if form})


def _backend_ids(token: str) -> tuple[str, str] | None:
    """From the token's claims, unverified: the service verifies them, we only read what it said about us."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        scopes = str(claims["scp"]).split(" ")
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None
    parts = next((scope.split(":") for scope in scopes if scope.startswith("Actions.Results:")), [])
    return (parts[1], parts[2]) if len(parts) == 3 and all(parts) else None


def _object(answer: Answer) -> Mapping[str, object] | None:
    try:
        reply = json.loads(answer.body)
    except ValueError:
        return None
    return reply if isinstance(reply, dict) else None


def _over_quota(answer: Answer) -> bool:
    return not answer.good and b"insufficient usage" in answer.body.lower()


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(method: str, why: str) -> ArtifactError:
    return ArtifactError(f"The service for artifacts refused {method}: {why}.", money=STILL_THERE)
