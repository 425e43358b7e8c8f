"""A small repository for the machine: the commit, the tags that it is described by, and no file contents.

`git rev-parse HEAD`, `git describe` and `git status` answer there, so that setuptools_scm and W&B see the commit. The
copy holds the commits back to the nearest tag, and the commit's folders. The files stand in the working directory
already. It holds no configuration of the checkout: actions/checkout keeps its token there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cvl_ci.errors import CvlError
from cvl_ci.local.git.git import Git
from cvl_ci.model.plan import BASE_FOLDER

IGNORE_NOTHING = ".skyignore"
"""Staging writes files of this name, at the top and in place of the user's own."""
MOST_COMMITS = 20_000
"""Commits since the nearest tag. With more, the copy holds the one commit alone."""
_LINK, _SUBMODULE = "120000", "160000"


def write_commit(commit: str, *, git: Git, folder: str, into: Path) -> None:
    """Write `into/.git`. Raise CvlError where the checkout lacks a part of the commit.

    `git`: in the checkout. `folder`: the folder of it that `into` is a copy of; `.` for all of it. Files of the commit
    that `into` lacks do not count as deleted.
    """
    commits, tags = _history(commit, git)
    target, copy = into / ".git", git.for_folder(into)
    copy.read("init", "--quiet", "--template=")
    names = [*commits, *dict.fromkeys(tags.values()), *_folders(commit, git)]
    packed = git.read("pack-objects", "--stdout", "--quiet", stdin="\n".join(names).encode() + b"\n")
    copy.read("index-pack", "--stdin", stdin=packed)
    _write(target / "shallow", _first(commits, git))
    _write(target / "packed-refs", [f"{name} {ref}" for ref, name in tags.items()])
    branch = git.line("rev-parse", "--abbrev-ref", "HEAD")
    if git.line("rev-parse", "HEAD") == commit and branch != "HEAD":
        _write(target / "refs" / "heads" / branch, [commit])
        _write(target / "HEAD", [f"ref: refs/heads/{branch}"])
    else:
        _write(target / "HEAD", [commit])
    _write(target / "info" / "exclude", [f"/{IGNORE_NOTHING}", f"/{BASE_FOLDER}"])
    _name_origin(git, copy)
    _fill_index(commit if folder == "." else f"{commit}:{folder}", copy)


def _history(commit: str, git: Git) -> tuple[list[str], dict[str, str]]:
    """Return the commits back to the nearest tag, and the tags of these commits: ref → object."""
    try:
        nearest = git.line("describe", "--tags", "--abbrev=0", commit)
    except CvlError:
        return [commit], {}
    words = ("rev-list", f"--max-count={MOST_COMMITS + 1}", commit, f"^refs/tags/{nearest}^{{commit}}")
    since = git.line(*words).split()
    if len(since) > MOST_COMMITS:
        return [commit], {}
    tagged = git.line("rev-parse", f"refs/tags/{nearest}^{{commit}}")
    commits = dict.fromkeys([commit, *since, tagged])
    form = "--format=%(objectname) %(*objectname) %(refname)"
    tags = {}
    for line in git.line("for-each-ref", form, "refs/tags").splitlines():
        name, peeled, ref = line.split(" ", 2)
        if (peeled or name) in commits:
            tags[ref] = name
    return list(commits), tags


def _folders(commit: str, git: Git) -> list[str]:
    top = git.line("rev-parse", f"{commit}^{{tree}}")
    entries = git.read("ls-tree", "-r", "-d", "-z", "--full-tree", commit).split(b"\0")
    trees = [line.split(b"\t")[0].split() for line in entries if line]
    return [top, *dict.fromkeys(words[2].decode() for words in trees if words[1] == b"tree")]


def _first(commits: Sequence[str], git: Git) -> list[str]:
    """Return the commits whose parents are not in the copy: git takes them for the beginning of the history."""
    request = "\n".join(commits).encode() + b"\n"
    lines = git.read("rev-list", "--parents", "--no-walk", "--stdin", stdin=request)
    copied = set(commits)
    families = [line.split() for line in lines.decode().splitlines()]
    return [family[0] for family in families if not copied.issuperset(family[1:])]


def _name_origin(git: Git, copy: Git) -> None:
    """Tell where the repository comes from, as W&B records it: a web address, without a user or a password."""
    try:
        address = urlsplit(git.line("config", "--get", "remote.origin.url"))
        host = f"{address.hostname}:{address.port}" if address.port else address.hostname
    except (CvlError, ValueError):
        return
    if address.scheme == "https" and host:
        copy.read("config", "remote.origin.url", f"https://{host}{address.path}")


def _fill_index(tree: str, copy: Git) -> None:
    """Let `git status` compare the files that went along, and pass over the others: links arrive as files."""
    copy.read("read-tree", tree)
    passed_over = []
    top = os.fsencode(copy.root)
    for line in copy.read("ls-files", "--stage", "-z").split(b"\0"):
        described, _, path = line.partition(b"\t")
        mode = described[:6].decode()
        is_ours = path.rpartition(b"/")[2] == IGNORE_NOTHING.encode()
        if path and (is_ours or mode in {_LINK, _SUBMODULE} or not os.path.lexists(top + b"/" + path)):
            passed_over.append(path)
    paths = b"".join(path + b"\0" for path in passed_over)
    copy.read("update-index", "-z", "--skip-worktree", "--stdin", stdin=paths)


def _write(path: Path, lines: Sequence[str]) -> None:
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
