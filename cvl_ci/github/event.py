"""What started the workflow: the pull request it is about, if any, and whether its code is a stranger's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MEMBERS = {"OWNER", "MEMBER", "COLLABORATOR"}
_TEXT_KEYS = {
    "issue_comment": "comment",
    "discussion_comment": "comment",
    "pull_request_review": "review",
    "pull_request_review_comment": "comment",
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """`name` and `payload` as GitHub gives them (GITHUB_EVENT_NAME, the file at GITHUB_EVENT_PATH)."""

    name: str
    payload: Mapping[str, Any]
    actor: str = ""

    @property
    def pull_request(self) -> int | None:
        """Its number, as far as the payload tells."""
        match self.name:
            case "pull_request" | "pull_request_target" | "pull_request_review" | "pull_request_review_comment":
                return _number(self._of("pull_request"))
            case "issue_comment" | "issues":
                return _number(self._of("issue")) if self._of("issue").get("pull_request") else None
            case "merge_group":
                ref_match = re.search(r"/pr-(\d+)-[0-9a-f]{7,}$", str(self._of("merge_group").get("head_ref") or ""))
                return int(ref_match[1]) if ref_match else None
            case "workflow_run" | "check_run" | "check_suite":
                return _number(self._first_pull_request())
            case _:
                return None

    @property
    def is_closed(self) -> bool:
        """Return whether the pull request was closed or merged."""
        return self.name.startswith("pull_request") and self.payload.get("action") == "closed"

    @property
    def asks_by_commit(self) -> bool:
        """Events of a branch, whose pull request only the API knows."""
        return self.name in {"push", "workflow_dispatch", "workflow_run", "check_run", "check_suite", "deployment"}

    @property
    def sha(self) -> str:
        """The commit it is about, where that is not GITHUB_SHA."""
        return str(self._of(self.name).get("head_sha") or "")

    @property
    def from_fork(self) -> bool:
        """The head may be a repository that was deleted since: a stranger's all the same."""
        if self.name == "workflow_run":
            head_repository = _mapping(self._of("workflow_run").get("head_repository"))
            return not head_repository or head_repository.get("full_name") != self._of("repository").get("full_name")
        if not self.name.startswith("pull_request"):
            return False
        request = self._of("pull_request")
        head, base = _mapping(request.get("head")), _mapping(request.get("base"))
        head_repository, base_repository = _mapping(head.get("repo")), _mapping(base.get("repo"))
        return not head_repository or head_repository.get("full_name") != base_repository.get("full_name")

    @property
    def head_sha(self) -> str:
        """The commit that was proposed."""
        if self.name == "workflow_run":
            return self.sha
        return str(_mapping(self._of("pull_request").get("head")).get("sha") or "")

    @property
    def base_sha(self) -> str:
        """The commit that it would be merged into; empty: it is about no proposal."""
        if self.name == "merge_group":
            return str(self._of("merge_group").get("base_sha") or "")
        return str(_mapping(self._of("pull_request").get("base")).get("sha") or "")

    @property
    def base_branch(self) -> str:
        if self.name == "merge_group":
            return str(self._of("merge_group").get("base_ref") or "").removeprefix("refs/heads/")
        return str(_mapping(self._of("pull_request").get("base")).get("ref") or "")

    @property
    def default_branch(self) -> str:
        return str(self._of("repository").get("default_branch") or "")

    @property
    def is_private(self) -> bool:
        """Return whether GitHub says that the repository is not public. A missing answer is no."""
        return self._of("repository").get("private") is True

    @property
    def spoken_by_stranger(self) -> bool:
        """Return whether a comment or a review of a stranger started it: anybody may write one."""
        key = _TEXT_KEYS.get(self.name)
        return key is not None and self._of(key).get("author_association") not in _MEMBERS

    @property
    def from_dependabot(self) -> bool:
        return self.actor == "dependabot[bot]"

    def _first_pull_request(self) -> Mapping[str, Any]:
        """Of the pull requests of its commit, the first into this repository: those into its forks are listed too."""
        requests = self._of(self.name).get("pull_requests")
        own_id = self._of("repository").get("id")
        for request in requests if isinstance(requests, list) else []:
            into = _mapping(_mapping(_mapping(request).get("base")).get("repo")).get("id")
            if into is not None and into == own_id:
                return _mapping(request)
        return {}

    def _of(self, key: str) -> Mapping[str, Any]:
        return _mapping(self.payload.get(key))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Mapping[str, Any]) -> int | None:
    number = value.get("number")
    return number if isinstance(number, int) and not isinstance(number, bool) else None
