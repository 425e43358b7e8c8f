"""The content of buckets of Google Cloud Storage.

Shapes after the JSON API of Cloud Storage (cloud.google.com/storage/docs/json_api/v1/objects/list): {kind, items,
nextPageToken}, of which `items` is absent for none. Sizes are decimal texts. A bucket that does not exist answers 404.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from cvl_ci.clouds import contents, http
from cvl_ci.clouds.gcp.inventory import sign_in
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.storage import StoredBytes

if TYPE_CHECKING:
    from requests import Session

API = "https://storage.googleapis.com"
_KIND = "storage#objects"
_ABSENT = ("404", "NOT_FOUND")
"""The codes in Google's own JSON. A proxy or a portal answers 404 without it."""


class GoogleBuckets:
    """The contents of buckets, with the right storage.objects.list."""

    def __init__(self, new_session: Callable[[], Session], *, api: str = API) -> None:
        self._new_session, self._api = new_session, api

    def content(self, address: BucketAddress, *, seconds: float) -> StoredBytes | None:
        return contents.content_within(seconds, self._pages(address), address, store="Google Cloud Storage")

    def _pages(self, address: BucketAddress) -> Iterator[Mapping[str, int]]:
        url = f"{self._api}/storage/v1/b/{quote(address.bucket, safe='')}/o"
        fields = "kind,nextPageToken,items(name,size)"
        params = {"prefix": address.prefix, "maxResults": str(contents.PAGE), "fields": fields}
        session, pages, token = self._new_session(), http.Pages(str(address)), "first"
        while token:
            try:
                page = http.ask(session, "GET", url, params=params)
            except http.ProviderRefused as refusal:
                if refusal.status == 404 and refusal.code in _ABSENT:
                    raise contents.BucketAbsent from None
                raise
            if http.has(page, "kind", of=str(address)) != _KIND:
                raise http.Unproved(f"the answer about {address} is of another kind")
            entries = list(http.entries(page.get("items", []), of=str(address)))
            yield {
                http.text(one, "name", of=str(address)): int(http.text(one, "size", of=str(address))) for one in entries
            }
            token = pages.next(page.get("nextPageToken"))
            params = {**params, "pageToken": token}


def open_buckets(environ: Mapping[str, str]) -> GoogleBuckets:
    return GoogleBuckets(lambda: sign_in(environ.get("GOOGLE_CLOUD_PROJECT", ""))[0])
