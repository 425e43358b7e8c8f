"""Download summaries of runs from artifacts, through GitHub's REST API: this workflow's run, and earlier ones.

"List workflow run artifacts" (GET /repos/{owner}/{repo}/actions/runs/{id}/artifacts), "Download an artifact" (GET
/repos/{owner}/{repo}/actions/artifacts/{id}/zip), which answers with the address of the zip, good for a minute. The
token does not go to that address. An artifact past its retention is listed as `expired` and has no zip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cvl_ci.errors import ArtifactError, CvlError
from cvl_ci.github import client
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts.http import Answer, Http
from cvl_ci.github.artifacts.unzip import files
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import source
from cvl_ci.result.sanitize import plain

AT_ONCE = 8
MOST_ARTIFACTS = 3_000
LARGEST_ARCHIVE = 64 << 20
READ = "actions: read"
LINES = "legs.jsonl"
"""In the report's artifact: a line for each leg, which later runs are compared with."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Artifact in GitHub's list. `bytes`: of the zip, as GitHub reports it."""

    number: int
    name: str
    bytes: int = 0
    expired: bool = False

    @property
    def step(self) -> str:
        """Whose cost it is, whichever attempt wrote it; empty for any other artifact."""
        return source.step_of(self.name)


@dataclass(frozen=True, kw_only=True)
class ArtifactLegs:
    """`troubles`: artifacts without a readable summary, and the reasons. `expired`: how many were too old.

    `unheard`: how many of them GitHub did not send. Their legs may or may not exist.
    """

    legs: tuple[Leg, ...] = ()
    troubles: tuple[str, ...] = ()
    expired: int = 0
    unheard: int = 0
    copies: tuple[str, ...] = ()
    """Runs whose summary lies in the artifacts of several steps: one of them wrote it."""


_NOT_SENT = "GitHub did not send it"


def _unheard(troubles: Sequence[str]) -> int:
    return sum(_NOT_SENT in one for one in troubles)


class ArtifactReader:
    """Reader of artifacts. `http`: for the zips, which do not belong to the API."""

    def __init__(self, repository: Repository, *, http: Http, api: str, token: str) -> None:
        self._repository, self._http = repository, http
        self._address = f"{api}/repos/{repository.name}/actions/artifacts"
        self._token = token

    def of_run(self, run: int) -> ArtifactLegs:
        """Return the summaries of a run's legs, each of the last attempt that ran it.

        A failed leg that ran again may have succeeded.
        """
        return self.costs(self.artifacts(run))

    def artifacts(self, run: int) -> list[Artifact]:
        """Return the artifacts of a run. Raises CvlError."""
        path = f"/actions/runs/{int(run)}/artifacts"
        entries = self._repository.list_entries(path, needs=READ, most=MOST_ARTIFACTS, key="artifacts")
        return self._repository.well(f"GET {path}", READ, lambda: [_artifact(entry) for entry in entries])

    def costs(self, artifacts: Sequence[Artifact]) -> ArtifactLegs:
        cost_artifacts = [one for one in artifacts if one.step]
        summaries, troubles = self._summaries(cost_artifacts, _summaries)
        return ArtifactLegs(
            legs=tuple(_last_attempts(summaries)),
            copies=tuple(_copies(summaries)),
            troubles=troubles,
            expired=sum(one.expired for one in cost_artifacts),
            unheard=_unheard(troubles),
        )

    def lines(self, artifacts: Sequence[Artifact]) -> ArtifactLegs:
        """Of reports, which hold a line for each of their legs."""
        summaries, troubles = self._summaries(artifacts, _lines)
        all_legs = tuple(leg for _, leg in summaries)
        expired = sum(one.expired for one in artifacts)
        return ArtifactLegs(legs=all_legs, troubles=troubles, expired=expired, unheard=_unheard(troubles))

    # ---- the zips -------------------------------------------------------------------------------------------------

    def _summaries(
        self, artifacts: Sequence[Artifact], read: Callable[[bytes, Callable[[str], None]], list[Leg]]
    ) -> tuple[list[tuple[Artifact, Leg]], tuple[str, ...]]:
        """In the order of the artifacts, however they arrive."""
        alive = [one for one in artifacts if not one.expired]

        def read_one(one: Artifact) -> tuple[list[Leg], list[str]]:
            problems: list[str] = []
            try:
                return read(self.archive(one), problems.append), problems
            except CvlError as error:
                return [], [*problems, f"{_NOT_SENT}: {error.what}"]

        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            answers = list(pool.map(read_one, alive))
        pairs = zip(alive, answers, strict=True)
        summaries = [(one, leg) for one, (legs_of_it, _) in pairs for leg in legs_of_it]
        troubles = [
            f"{plain(one.name)} {words}"
            for one, (_, problems) in zip(alive, answers, strict=True)
            for words in problems
        ]
        return summaries, tuple(troubles)

    def archive(self, one: Artifact) -> bytes:
        """Return the zip of an artifact. Raise ArtifactError without it."""
        if one.bytes > LARGEST_ARCHIVE:
            raise ArtifactError(f"it has {one.bytes:,} bytes, more than any summary")
        token = {"Authorization": f"token {self._token}"}
        answer = self._download(f"{self._address}/{one.number}/zip", headers=token)
        if answer.status in {301, 302, 303, 307, 308}:
            # A user's own server without TLS may store without TLS too. No credential goes there.
            schemes = ("https://",) if self._address.startswith("https://") else ("https://", "http://")
            if not answer.location.startswith(schemes):
                raise ArtifactError("GitHub names no place to download it from")
            answer = self._download(answer.location, headers={})
        if not answer.good:
            detail = " (its retention is over)" if answer.status == 410 else ""
            raise ArtifactError(f"answer {answer.status}{detail}")
        return answer.body

    def _download(self, url: str, *, headers: Mapping[str, str]) -> Answer:
        what = "The download of an artifact"
        return self._http.ask("GET", url, what=what, headers=headers, body=b"", most=LARGEST_ARCHIVE)


def _artifact(entry: Mapping[str, Any]) -> Artifact:
    """Read one entry. Raise Trouble for any other value: a skipped artifact would look like a leg that never ran."""
    size = entry.get("size_in_bytes")
    number = client.member(entry, "id", int, of="an artifact")
    name = client.member(entry, "name", str, of="an artifact")
    size_bytes = size if isinstance(size, int) else 0
    return Artifact(number=number, name=name, bytes=size_bytes, expired=entry.get("expired") is True)


def _summaries(archive: bytes, say: Callable[[str], None]) -> list[Leg]:
    """Of `<lease>.json`, the one file of a cost. An artifact without it is a leg whose end is unknown."""
    summaries = []
    problems: list[str] = []
    for name, content in files(archive, endings=(".json",), largest=leg_file.LARGEST_BYTES, say=problems.append):
        try:
            summaries.append(source.read(name, content))
        except ValueError as error:
            problems.append(f"holds what {error}")
    for words in problems if problems or summaries else ["holds no summary"]:
        say(words)
    return summaries


def _lines(archive: bytes, say: Callable[[str], None]) -> list[Leg]:
    """Of the one file that a report keeps. A line that cannot be read is counted and told."""
    summaries, unread = [], 0
    for name, content in files(archive, endings=(".jsonl",), largest=LARGEST_ARCHIVE, say=say):
        for line in content.split(b"\n") if name == LINES else ():
            try:
                summaries.append(leg_file.read(line))
            except ValueError:
                unread += bool(line.strip())
    if unread:
        say(f"holds {unread} lines that are not runs")
    return summaries


def _copies(summaries: Sequence[tuple[Artifact, Leg]]) -> list[str]:
    """Return a line for each run that artifacts of several steps name."""
    names: dict[str, dict[str, str]] = {}
    for one, leg in summaries:
        names.setdefault(leg.machines.cluster, {}).setdefault(one.step, plain(one.name))
    return [f"{plain(run)}: {', '.join(by_step.values())}" for run, by_step in names.items() if len(by_step) > 1]


def _last_attempts(summaries: Sequence[tuple[Artifact, Leg]]) -> list[Leg]:
    """Told apart by step and leg: of two, main's and post's word of the same attempt both stay."""
    last: dict[tuple[str, str], int] = {}
    for one, leg in summaries:
        which = (one.step, leg.name)
        last[which] = max(last.get(which, 0), leg.source.attempt)
    return [leg for one, leg in summaries if leg.source.attempt == last[one.step, leg.name]]
