"""The hub as a ModelSource: one request for all metadata, then the bytes of a file from any position on.

The token stays in this process. httpx does not send it to the address to which the hub redirects for large files.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from cvl_ci.errors import CredentialsError, HubError, InputProblem, RequestError
from cvl_ci.model.snapshot import COMMIT, DEFAULT_REF, ModelFile, Snapshot, is_safe_path
from cvl_ci.ports.models import SourceHiccup

if TYPE_CHECKING:
    import httpx

PIECE = 1 << 20
MOST_METADATA = 64 << 20
"""Of one answer of the hub's API, in bytes. A repository of 100,000 files has about 40 MB of metadata."""
MOST_FILES = 100_000
"""The hub's own limit of a repository: huggingface.co/docs/hub/storage-limits."""
CONNECT_SECONDS, SILENT_SECONDS = 15.0, 60.0
BUSY = {408, 425, 429, 500, 502, 503, 504}
_GATED = "docs/models.md tells how to give a token: HF_TOKEN here, never on a machine."


class HuggingFaceHub:
    """`token`: None for the token of `hf auth login`, if any; False for no token."""

    def __init__(self, *, endpoint: str | None = None, token: str | Literal[False] | None = None) -> None:
        import huggingface_hub

        self._api = huggingface_hub.HfApi(endpoint=endpoint, token=token)
        # HfApi asks through one client of the whole process, which belongs to the program that uses this library.
        self._client = _client()
        weakref.finalize(self, self._client.close)

    def snapshot(self, repo: str, revision: str) -> Snapshot:
        with self._errors(repo, revision):
            info = self._info(repo, revision)
        commit, siblings = info.sha, info.siblings
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or siblings is None:
            raise HubError(f"The hub's answer about {repo} has no commit or no list of files.")
        if len(siblings) > MOST_FILES:
            raise HubError(f"The hub lists {len(siblings)} files of {repo}, and cvl-ci takes at most {MOST_FILES}.")
        ref = "" if COMMIT.fullmatch(revision) else revision or DEFAULT_REF
        files = tuple(sorted((_file(repo, one) for one in siblings), key=lambda file: file.path))
        return Snapshot(repo=repo, commit=commit, files=files, ref=ref)

    def ask(self, path: str, *, seconds: float) -> httpx.Response:
        """Return the answer of the hub's API about a path, of any status. Raises HubError for none.

        `seconds`: for each step of the answer.
        """
        try:
            with self._errors(path, ""):
                return self._answer(path, seconds=seconds)
        except SourceHiccup as hiccup:
            raise HubError(f"The hub gave no answer about {path}: {hiccup}") from None

    def _answer(self, path: str, *, seconds: float = SILENT_SECONDS) -> httpx.Response:
        import httpx
        from huggingface_hub.utils._headers import build_hf_headers

        return self._client.get(
            f"{self._api.endpoint}/api/{path}",
            params={"blobs": True},
            headers=build_hf_headers(token=self._api.token),
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        )

    def _info(self, repo: str, revision: str) -> Any:
        """Ask as HfApi.model_info does, with the bounds of our own client.

        Source: https://huggingface.co/docs/hub/api, and huggingface_hub 1.16, hf_api.py.
        """
        from huggingface_hub import ModelInfo, hf_raise_for_status
        from huggingface_hub.utils._validators import validate_repo_id

        validate_repo_id(repo)
        answer = self._answer(f"models/{repo}/revision/{quote(revision, safe='')}" if revision else f"models/{repo}")
        hf_raise_for_status(answer)
        untyped: Any = ModelInfo
        return untyped(**answer.json())

    @contextmanager
    def read(self, snapshot: Snapshot, file: ModelFile, *, start: int) -> Iterator[Iterator[bytes]]:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils._headers import build_hf_headers

        url = hf_hub_url(snapshot.repo, file.path, revision=snapshot.commit, endpoint=self._api.endpoint)
        # Without `identity`, a server may send a packed answer, whose positions are others.
        headers = {**build_hf_headers(token=self._api.token), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with (
            self._errors(snapshot.repo, snapshot.commit),
            self._client.stream("GET", url, headers=headers) as answer,
        ):
            self._refuse(answer, snapshot.repo, snapshot.commit)
            yield _from(start if answer.status_code == 200 else 0, answer.iter_raw(PIECE))

    @contextmanager
    def _errors(self, repo: str, revision: str) -> Iterator[None]:
        """Turn the errors of the client into ours. A cut connection is a hiccup, also in mid-file."""
        import httpx
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            yield
        except HfHubHTTPError as error:
            self._refuse(error.response, repo, revision)
            raise HubError(f"The hub gave no valid answer about {repo}: {_short(error)}") from None
        except HFValidationError as error:
            raise RequestError([InputProblem(field="REPO", value=repo, problem=f"is not valid: {error}")]) from None
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol):
            # The text of this error may quote the token.
            raise HubError(
                f"The hub cannot answer about {repo}: its address or the token is malformed.",
                next_step="Look at HF_ENDPOINT and HF_TOKEN.",
            ) from None
        except httpx.TransportError as error:
            raise SourceHiccup(f"{type(error).__name__}: {_short(error)}") from None
        except (httpx.HTTPError, ValueError, TypeError, KeyError) as error:
            raise HubError(f"The hub gave no valid answer about {repo}: {_short(error)}") from None

    def _refuse(self, answer: Any, repo: str, revision: str) -> None:
        """Raise the error of a refusal; return for an answer with content."""
        status = answer.status_code
        if status in BUSY:
            raise SourceHiccup(f"the hub answers {status}", seconds=wanted_pause(answer.headers))
        code = answer.headers.get("X-Error-Code", "")
        if code == "GatedRepo" or status == 403:
            raise CredentialsError(
                f"{repo} is gated, and the hub does not let this token read it ({status}).",
                next_step=f"Ask for access at {self._api.endpoint}/{repo}, and give that account's token. {_GATED}",
            )
        if code == "RevisionNotFound":
            mistake = InputProblem(field="revision", value=revision, problem=f"is not a revision of {repo}")
            raise RequestError([mistake])
        if status in {401, 404}:
            raise CredentialsError(
                f"The hub shows no repository {repo}: it does not exist, or it is private or gated ({status}).",
                next_step=f"Check its name at {self._api.endpoint}. {_GATED}",
            )
        if status not in {200, 206}:
            raise HubError(f"The hub refuses {repo} with {status}.")


def wanted_pause(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Return the seconds for which a busy server asks.

    `Retry-After` holds seconds or a date (RFC 9110, 10.2.3). The hub's `RateLimit` holds `t=SECONDS`.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal() and len(text) < 9:
        return float(text)
    if text:
        try:
            until = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        until = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
        return max((until - (now or datetime.now(timezone.utc))).total_seconds(), 0.0)
    match = re.search(r"\bt=(\d{1,8})\b", headers.get("RateLimit", ""))
    return float(match[1]) if match else None


def _file(repo: str, sibling: Any) -> ModelFile:
    path, size, lfs = sibling.rfilename, sibling.size, sibling.lfs
    sha256 = lfs.sha256 if lfs else ""
    blob = sha256 or sibling.blob_id
    if not isinstance(path, str) or not is_safe_path(path):
        raise HubError(f"The hub names a file of {repo} that cvl-ci stores nowhere: {str(path)[:100]!r}.")
    valid = isinstance(size, int) and size >= 0 and isinstance(blob, str)
    if not valid or not re.fullmatch(r"[0-9a-f]{64}" if sha256 else r"[0-9a-f]{40}", blob):
        raise HubError(f"The hub's answer about {repo} has no size or checksum of {path}.")
    return ModelFile(path=path, size=size, blob=blob, sha256=sha256)


def _from(position: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes from a position on: a server may ignore the requested range."""
    for piece in pieces:
        if position < len(piece):
            yield piece[position:]
        position = max(position - len(piece), 0)


def _client() -> httpx.Client:
    """Return the hub client's own kind of session, with bounds for time and for metadata."""
    import httpx
    from huggingface_hub.utils._http import default_client_factory

    class BoundedStream(httpx.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            length = 0
            for piece in self._stream:
                length += len(piece)
                if length > MOST_METADATA:
                    raise httpx.DecodingError(f"the answer is longer than {MOST_METADATA >> 20} MiB")
                yield piece

        def close(self) -> None:
            self._stream.close()

    def bound(answer: httpx.Response) -> None:
        if answer.request.url.path.startswith("/api/"):
            answer.stream = BoundedStream(answer.stream)

    client: httpx.Client = default_client_factory()
    client.event_hooks = {**client.event_hooks, "response": [*client.event_hooks.get("response", []), bound]}
    client.timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
    return client


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
