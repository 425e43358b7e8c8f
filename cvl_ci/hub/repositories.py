"""The files of the hub's repositories, as the machines of a run would read them.

Shapes after huggingface.co/docs/hub/api: `siblings` holds `rfilename` and `size`. The hub lists the files of a gated
repository to everybody (huggingface.js, issue 945), and `auth-check` tells whether this token reads them
(huggingface_hub, HfApi.auth_check). It answers about a private repository as if there were none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cvl_ci.errors import HubError, InputProblem, RequestError
from cvl_ci.hub.client import BUSY, MOST_FILES, HuggingFaceHub
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.storage import StoredBytes

if TYPE_CHECKING:
    import httpx

_KINDS = ("datasets", "spaces")
_LEND = "Add the secret HF_TOKEN of an account that may read it to the job's `secrets`"
_STORE = "or store it in a bucket of yours, where `models` reads it"
_WRONG_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105  huggingface_hub, utils/_http.py


class HubRepositories:
    """The contents of repositories. An address has the bucket `OWNER/NAME@REVISION`, after `datasets/` or `spaces/`.

    `token`: that of the machines; empty for none.
    """

    def __init__(self, *, endpoint: str | None = None, token: str = "") -> None:
        self._hub = HuggingFaceHub(endpoint=endpoint, token=token or False)
        self._has_token = bool(token)

    def content(self, address: BucketAddress, *, seconds: float) -> StoredBytes | None:
        """Return the files. Raise RequestError where the hub says that the machines cannot read them.

        `seconds`: for each step of an answer, which lists all files.
        """
        name, _, revision = address.bucket.partition("@")
        path = name if name.startswith(_KINDS) else f"models/{name}"
        place = f"{path}/revision/{quote(revision, safe='')}" if revision else path
        info = self._read(self._hub.ask(place, seconds=seconds), address)
        if info.get("gated"):
            self._read(self._hub.ask(f"{path}/auth-check", seconds=seconds), address, is_object=False)
        return _sum(info.get("siblings"), address)

    def _read(self, answer: httpx.Response, address: BucketAddress, *, is_object: bool = True) -> Mapping[str, Any]:
        """Return a JSON object. Raise RequestError for the hub's own refusal, and HubError for another answer."""
        content = _json(answer)
        if answer.status_code == 200 and (isinstance(content, Mapping) or not is_object):
            return content if isinstance(content, Mapping) else {}
        code = answer.headers.get("X-Error-Code", "")
        # A proxy or a portal refuses too, and its page is not JSON.
        is_of_hub = bool(code) or (isinstance(content, Mapping) and "error" in content)
        if answer.status_code in BUSY or answer.status_code not in {401, 403, 404} or not is_of_hub:
            raise HubError(f"The hub gave no valid answer about {address}: {answer.status_code}.")
        raise RequestError([InputProblem(field="mounts", value=str(address), problem=self._refusal(answer, code))])

    def _refusal(self, answer: httpx.Response, code: str) -> str:
        if code == "RevisionNotFound":
            return "names a revision that its repository does not have"
        if self._has_token and answer.headers.get("X-Error-Message") == _WRONG_TOKEN:
            return "cannot be read: the hub does not accept the job's secret HF_TOKEN"
        fix = f"Let the account of HF_TOKEN ask for access, {_STORE}" if self._has_token else f"{_LEND}, {_STORE}"
        if code == "GatedRepo" or answer.status_code == 403:
            return f"names a gated repository, which the machines may not read. {fix}"
        return f"names a repository that the hub does not show: it does not exist, or it is private. {fix}"


def open_repositories(environ: Mapping[str, str], token: str) -> HubRepositories:
    return HubRepositories(endpoint=environ.get("HF_ENDPOINT") or None, token=token)


def _json(answer: httpx.Response) -> object:
    try:
        content: object = answer.json()
    except (ValueError, RecursionError):
        return None
    return content


def _sum(siblings: object, address: BucketAddress) -> StoredBytes:
    if not isinstance(siblings, list) or len(siblings) > MOST_FILES:
        raise HubError(f"The hub's answer about {address} has no list of at most {MOST_FILES} files.")
    sizes = []
    for one in siblings:
        path, size = (one.get("rfilename"), one.get("size")) if isinstance(one, Mapping) else (None, None)
        if not isinstance(path, str) or not isinstance(size, int) or not 0 <= size < 1 << 60:
            raise HubError(f"The hub's answer about {address} has a file without a name or a size.")
        sizes += [size] if address.contains(path) else []
    return StoredBytes(files=len(sizes), bytes=sum(sizes))
