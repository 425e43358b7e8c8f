"""A branch that remembers runs: JSON lines, one file a month, only appended to, safe for concurrent pushes.

It uses the checkout's own git with its credentials, and does not touch the working tree. A commit extends the contents
of the branch. The push succeeds only if the branch has not moved since the read; otherwise it reads the branch again.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from cvl_ci.backoff import Backoff
from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.inputs.suggest import similar, with_names
from cvl_ci.local.git.git import Git, GitAnswer
from cvl_ci.local.git.network import network_variables
from cvl_ci.ports import Clock
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg

BACKOFF = Backoff(tries=30, first_seconds=0.05, longest_seconds=1.6, jitter=3.0)
_STUCK = 4
"""Failed pushes without a push by others, after which the cause is not a race."""

_README = "Runs of cvl-ci, one a line, one file a month. `cvl-ci history` writes them and only adds lines.\n"
_REMOTE_VERBS = frozenset({"ls-remote", "fetch", "push"})
_WHO = {f"GIT_{role}_{what}": "cvl-ci" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class _NotPushed(Exception):
    """A push that another one may have overtaken."""


class _Stuck(Exception):
    """A push that failed again although the branch stayed where it was."""


class HistoryBranch:
    """The branch. `remote`: a name or an address. `dice`: random waits, so that two writers do not collide again.

    `environ`: the user's variables. Git gets those for the network.
    """

    def __init__(
        self,
        root: Path,
        *,
        remote: str,
        branch: str,
        clock: Clock,
        dice: random.Random,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        git = Git.at(root, need="history is kept in a branch")
        if remote.startswith("-") or not re.fullmatch(r"[A-Za-z0-9][\w./-]*", branch) or ".." in branch:
            problem = "is not a valid branch name, or the remote is not valid"
            raise RequestError([InputProblem(field="--branch", value=f"{remote} {branch}", problem=problem)])
        self._git, self._remote, self._branch = git, remote, branch
        self._clock, self._network = clock, network_variables(environ or {})
        self._backoff = replace(BACKOFF, sleep=clock.sleep, chance=dice.random)
        self._ref = f"refs/cvl-ci/{branch}/{os.getpid()}-{dice.getrandbits(32):08x}"

    def read(self) -> list[Leg]:
        """Return all its runs; an empty list without such a branch."""
        tip = self._fetch()
        try:
            return [leg for text in self._files(tip).values() for leg in _legs(text.split("\n"))] if tip else []
        finally:
            self._forget()

    def append(self, new_legs: Sequence[Leg]) -> int:
        """Push these runs. Return how many the branch lacked. Raises CvlError where the push failed for good."""
        tips: list[str] = []
        count: int | None = None
        reason = ""

        def once() -> int:
            nonlocal count, reason
            tip = self._fetch()
            tips.append(tip)
            if len(tips) > _STUCK and {*tips[-_STUCK - 1 :]} == {tip}:
                raise _Stuck
            files, new = _with(self._files(tip) if tip else {}, new_legs)
            if new == 0:
                return count or 0  # the branch has all of them, or a push succeeded although git reported a failure
            count = new
            reason = self._push(self._commit(files, tip, new), tip)
            if reason:
                raise _NotPushed
            return new

        try:
            return self._backoff.run(once, pause=self._pause)
        except (_NotPushed, _Stuck):
            raise CvlError(
                f"History could not be pushed to {self._branch}: {reason or 'other pushes were always faster'}.",
                money="The runs themselves have ended; only their line of history is missing.",
                next_step="The job needs `permissions: contents: write`, and the checkout its `persist-credentials`.",
            ) from None
        finally:
            self._forget()

    def _pause(self, error: Exception, attempt: int) -> float | None:
        return self._backoff.seconds(attempt) if isinstance(error, _NotPushed) else None

    def _fetch(self) -> str:
        """Return the branch's commit; empty without a branch."""
        source = f"refs/heads/{self._branch}"
        answer = self._run("ls-remote", "--exit-code", "--", self._remote, source)
        if answer.code == 2:
            return ""
        # Without a refmap git would also move origin/BRANCH, for which two processes in one checkout would compete.
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap=")
        self._require_remote(answer)
        self._require_success(self._run(*fetch, "--", self._remote, f"+{source}:{self._ref}"))
        return self._require_success(self._run("rev-parse", "--verify", self._ref)).strip()

    def _files(self, tip: str) -> dict[str, str]:
        names = self._require_success(self._run("ls-tree", "--name-only", "-z", tip)).split("\0")
        return {
            name: self._require_success(self._run("cat-file", "blob", f"{tip}:{name}"))
            for name in names
            if _is_month(name)
        }

    def _commit(self, files: Mapping[str, str], tip: str, count: int) -> str:
        blobs = {name: self._object(text) for name, text in {"README.md": _README, **files}.items()}
        tree = "".join(f"100644 blob {blob}\t{name}\0" for name, blob in sorted(blobs.items()))
        tree_id = self._require_success(self._run("mktree", "-z", stdin=tree)).strip()
        parents = ("-p", tip) if tip else ()
        message = f"Add {count} {'run' if count == 1 else 'runs'}"
        return self._require_success(self._run("commit-tree", tree_id, *parents, "-m", message)).strip()

    def _object(self, text: str) -> str:
        return self._require_success(self._run("hash-object", "-w", "--stdin", stdin=text)).strip()

    def _push(self, commit: str, tip: str) -> str:
        """Push, and return the reason of a failure or an empty text.

        The lease also protects a branch that must not exist.
        """
        target = f"refs/heads/{self._branch}"
        lease = f"--force-with-lease={target}:{tip}"
        answer = self._run("push", "--quiet", lease, "--", self._remote, f"{commit}:{target}")
        return "" if answer.is_success else _reason(answer)

    def _forget(self) -> None:
        self._run("update-ref", "-d", self._ref)

    def _require_remote(self, answer: GitAnswer) -> None:
        """Raise RequestError if git knows no such remote: its own text then speaks of a repository."""
        is_address = "/" in self._remote or ":" in self._remote
        names = self._require_success(self._run("remote")).split() if not answer.is_success else []
        if not answer.is_success and not is_address and self._remote not in names:
            near = similar(self._remote, names)
            problem = with_names("is not a remote of this checkout", names, near)
            raise RequestError(
                [InputProblem(field="--remote", value=self._remote, problem=problem, near=near)],
                next_step="The history is in a branch of a remote. "
                f"Add one (git remote add {self._remote} URL), or name another with --remote.",
            )
        self._require_success(answer)

    def _require_success(self, answer: GitAnswer) -> str:
        if not answer.is_success:
            raise CvlError(f"git failed for the history branch {self._branch}: {_reason(answer)}")
        return answer.output.decode(errors="surrogateescape")

    def _run(self, *words: str, stdin: str = "") -> GitAnswer:
        moment = f"{int(self._clock.now())} +0000"
        author = {**_WHO, "GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment}
        is_remote = words[0] in _REMOTE_VERBS
        variables = {**(self._network if is_remote else {}), **author}
        request = stdin.encode(errors="surrogateescape")
        return self._git.run(*words, stdin=request, environ=variables, is_remote=is_remote)


def _with(files: Mapping[str, str], new_legs: Iterable[Leg]) -> tuple[dict[str, str], int]:
    """Return the files with new lines, and the number of lines. Skips a run that is there already, with its proof."""
    names = {_name(leg) for text in files.values() for leg in _legs(text.split("\n"))}
    grown = dict(files)
    count = 0
    for leg in new_legs:
        if not leg.source.at or _name(leg) in names:  # without a machine there was no measurement, and no time
            continue
        names.add(_name(leg))
        month = datetime.fromtimestamp(leg.source.at, tz=timezone.utc).strftime("%Y-%m.jsonl")
        before = grown.get(month, "")
        grown[month] = f"{before}{'' if not before or before.endswith(chr(10)) else chr(10)}{leg_file.line(leg)}\n"
        count += 1
    return grown, count


def _name(leg: Leg) -> tuple[str, float, bool]:
    return (leg.machines.run, leg.source.at, leg.machines.is_gone)


def _legs(lines: Iterable[str]) -> list[Leg]:
    """Return the readable runs. An unreadable line stays in the file and counts as no run."""
    readable = []
    for text in lines:
        try:
            readable.append(leg_file.read(text.encode()))
        except ValueError:
            continue
    return readable


def _is_month(name: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}\.jsonl", name) is not None


def _reason(answer: GitAnswer) -> str:
    """Return git's complaint without an address: an address may hold a password."""
    telling = (line for line in answer.error_lines if "rejected" in line or "error" in line or "fatal" in line)
    return re.sub(r"\w+://\S+", "the remote", next(telling, answer.reason))
