"""Upload artifacts of a workflow: create, blocks, finalize. The rest stays in the workspace, with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cvl_ci.backoff import Backoff
from cvl_ci.errors import ArtifactError
from cvl_ci.github.artifacts.blocks import AT_ONCE, BlockBlob
from cvl_ci.github.artifacts.http import BACKOFF, STILL_THERE, Http
from cvl_ci.github.artifacts.name import artifact_name
from cvl_ci.github.artifacts.service import NameTaken, QuotaUsedUp, Service, access
from cvl_ci.github.artifacts.zip_stream import choose, write_zip
from cvl_ci.ports import Clock, NotUploaded, Uploaded

DAY_SECONDS = 86_400
NAMES_TRIED = 5


class WorkflowArtifacts:
    """`environ`: what the runner set. `mask`: hides a text in all later output."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        mask: Callable[[str], None],
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._environ, self._clock, self._mask = environ, clock, mask
        self._backoff = replace(backoff, sleep=clock.sleep)
        self._at_once = 1 if environ.get("ACT") == "true" else AT_ONCE  # act's server appends blocks as they arrive

    def upload(
        self, name: str, *, root: Path, paths: Sequence[str], retention_days: int | None = None
    ) -> Uploaded | NotUploaded:
        allowed = access(self._environ)
        if isinstance(allowed, str):
            return NotUploaded(name=name, reason=allowed)
        chosen = choose(root, paths)
        if not chosen.files:
            return NotUploaded(name=name, reason="there is no file to upload", empty=True)
        try:
            with closing(Http(environ=self._environ, backoff=self._backoff, connections=self._at_once)) as http:
                service = Service(allowed, http=http, mask=self._mask)
                full_name, url = self._create(service, name, self._expiry(retention_days))
                with BlockBlob(url, http=http, at_once=self._at_once) as blob:
                    unread = write_zip(blob, root, chosen.files)
                    sha256 = blob.commit()
                number = service.finalize(full_name, size=blob.size, sha256=sha256)
        except QuotaUsedUp:
            return NotUploaded(name=name, reason="the storage for artifacts of this account is used up")
        return Uploaded(
            name=full_name,
            id=number,
            url=self._url(number),
            bytes=blob.size,
            sha256=sha256,
            files=len(chosen.files) - len(unread),
            left_out={**chosen.left_out, **unread},
        )

    def _create(self, service: Service, name: str, expires_at: float | None) -> tuple[str, str]:
        """Create an artifact.

        If the name is taken, count on: an answer may be lost, or post may repeat main's upload.
        """
        for again in range(1, NAMES_TRIED + 1):
            full_name = artifact_name(name, again=again)
            try:
                return full_name, service.create(full_name, expires_at=expires_at)
            except NameTaken:
                continue
        raise ArtifactError(f"{NAMES_TRIED} artifacts of this run are named {name} already.", money=STILL_THERE)

    def _expiry(self, retention_days: int | None) -> float | None:
        """Return when it expires.

        The repository's own limit wins; without a value, the service uses the repository's.
        """
        if not retention_days:
            return None
        limit = self._environ.get("GITHUB_RETENTION_DAYS", "")
        days = min(retention_days, int(limit)) if limit.isdecimal() and int(limit) > 0 else retention_days
        return self._clock.now() + days * DAY_SECONDS

    def _url(self, number: int) -> str:
        server = self._environ.get("GITHUB_SERVER_URL") or "https://github.com"
        repository, run = (self._environ.get(f"GITHUB_{name}", "") for name in ("REPOSITORY", "RUN_ID"))
        return f"{server}/{repository}/actions/runs/{run}/artifacts/{number}"
