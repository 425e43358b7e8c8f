"""The content of containers of Azure Blob Storage.

Shapes after the REST API (learn.microsoft.com/rest/api/storageservices/list-blobs): EnumerationResults with Blobs, each
Blob with Name and Properties/Content-Length, and NextMarker, empty after the last page. A missing container answers 404
and `x-ms-error-code: ContainerNotFound`. The reader needs the role Storage Blob Data Reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from cvl_ci.clouds import contents, http
from cvl_ci.clouds.azure.inventory import token_from
from cvl_ci.clouds.programs import programs
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.storage import StoredBytes

if TYPE_CHECKING:
    from requests import Session

STORAGE = "https://storage.azure.com"
"""The resource of the token: learn.microsoft.com, "Authorize access to blobs using Microsoft Entra ID"."""
VERSION = "2021-12-02"
_ABSENT = "ContainerNotFound"


class AzureContainers:
    """The contents of containers. An address names the container as `ACCOUNT/CONTAINER`."""

    def __init__(
        self,
        new_session: Callable[[], Session],
        *,
        place: Callable[[str], str] = "https://{}.blob.core.windows.net".format,
    ) -> None:
        """`place` returns the address of an account."""
        self._new_session, self._place = new_session, place

    def content(self, address: BucketAddress, *, seconds: float) -> StoredBytes | None:
        return contents.content_within(seconds, self._pages(address), address, store="Azure")

    def _pages(self, address: BucketAddress) -> Iterator[Mapping[str, int]]:
        account, _, container = address.bucket.partition("/")
        url = f"{self._place(account)}/{container}"
        params = {"restype": "container", "comp": "list", "prefix": address.prefix, "maxresults": str(contents.PAGE)}
        session, pages, marker = self._new_session(), http.Pages(str(address)), "first"
        session.headers["x-ms-version"] = VERSION
        while marker:
            answer = http.reply(session, url, params=params)
            code = answer.headers.get("x-ms-error-code", "")
            if answer.status_code == 404 and code == _ABSENT:
                raise contents.BucketAbsent
            if answer.status_code != 200:
                raise http.ProviderRefused(f"HTTP {answer.status_code}: {code}", status=answer.status_code, code=code)
            page = _tree(answer.content, of=str(address))
            yield {_name(blob, of=str(address)): _size(blob, of=str(address)) for blob in page.iter("Blob")}
            marker = pages.next(page.findtext("NextMarker"))
            params = {**params, "marker": marker}


def open_containers(environ: Mapping[str, str]) -> AzureContainers:
    run = programs(environ)
    return AzureContainers(lambda: http.session(f"Bearer {token_from(run, resource=STORAGE).text}"))


def _tree(content: bytes, *, of: str) -> Any:
    """Return the answer's root. No entity in it is ever expanded."""
    from defusedxml import DefusedXmlException, ElementTree

    try:
        page = ElementTree.fromstring(content)
    except (DefusedXmlException, ElementTree.ParseError) as error:
        raise http.Unproved(f"the answer about {of} is not XML ({error})") from None
    if page.tag != "EnumerationResults" or page.find("Blobs") is None or page.find("NextMarker") is None:
        raise http.Unproved(f"the answer about {of} is of another kind")
    return page


def _name(blob: Any, *, of: str) -> str:
    """Return a blob's name. One with characters that XML does not allow is percent-encoded."""
    name = blob.find("Name")
    if name is None or not name.text:
        raise http.Unproved(f"a blob of {of} has no name")
    return unquote(name.text) if name.get("Encoded") == "true" else str(name.text)


def _size(blob: Any, *, of: str) -> int:
    size = blob.findtext("Properties/Content-Length") or ""
    if not (size.isascii() and size.isdigit()):
        raise http.Unproved(f"a blob of {of} has no size")
    return int(size)
