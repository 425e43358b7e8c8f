"""The repository or plain folder with the examples: its files and their contents.

Git only lists files. Its hooks, filters and monitors do not run, whichever configuration the repository has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from cvl_ci.errors import CvlError
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.local.folder_walk import MOST_FILES, Item, below, walk
from cvl_ci.local.git.commit import CommitCheckout
from cvl_ci.local.git.git import Git
from cvl_ci.planning.credential_files import REASON, holds_credentials
from cvl_ci.planning.example import FILE_NAME
from cvl_ci.planning.folder_files import REPOSITORY, FolderRule
from cvl_ci.ports import Checkout, CheckoutFile, FolderFiles, Paths

_LINK, _SUBMODULE = "120000", "160000"
_OUTPUTS = "cvl-outputs"
OUTPUTS_REASON = "outputs of earlier runs"
_NO_NAMES = ("", ".", "..")
"""Path parts that are names only after resolution."""


def open_checkout(working_folder: Path, *, at: str = ".") -> Checkout:
    """Return the checkout around `at`, a path typed by a person in `working_folder`."""
    try:
        start = (working_folder / at).resolve()
        start = start if start.is_dir() else start.parent
    except (OSError, ValueError):
        start = working_folder.resolve()  # not a path: the search for it reports that
    for folder in (start, *start.parents):
        git = Git.if_installed(folder) if (folder / ".git").exists() else None
        if git is not None:
            return GitCheckout(git, working_folder=working_folder.resolve())
    return FolderCheckout(start, working_folder=working_folder.resolve())


class FolderCheckout:
    """A folder without git: all its files except hidden ones."""

    def __init__(self, root: Path, *, working_folder: Path) -> None:
        self._root = root
        self._working_folder = working_folder
        self._top = root.as_posix().rstrip("/") + "/"
        self._folders: dict[str, bool] = {}
        """For each folder, whether no link leads there. Each listing clears it."""

    @property
    def root(self) -> Path:
        return self._root

    @property
    def head(self) -> str:
        return ""

    def examples(self) -> Sequence[str]:
        folders = {_directory(path) for path in self._paths(["."]) if path.rpartition("/")[2] == FILE_NAME}
        return sorted(path for path in folders if (self._root / path / FILE_NAME).is_file())

    def paths(self) -> Paths:
        return Paths(self._paths(["."]))

    def files(self, *prefixes: str) -> Sequence[CheckoutFile]:
        self._folders.clear()
        entries = (entry for path in self._paths(prefixes) for entry in self._entries(path))
        return sorted({entry.path: entry for entry in entries}.values(), key=lambda entry: entry.path)

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        self._folders.clear()
        return {path: why for path in self._paths(prefixes) if (why := self._why_not(path))}

    def folder(self, path: str, rule: FolderRule) -> FolderFiles:
        self._folders.clear()
        entries: dict[str, CheckoutFile] = {}
        reasons: dict[str, str] = {}
        for item in walk(self._root, path, path=path, within=path, rule=rule):
            for entry in self._in_folder(item, path, rule, reasons):
                entries[entry.path] = entry
        ordered = [entries[name] for name in sorted(entries)]
        return FolderFiles(entries=ordered, reasons=reasons, tracked=self._known_to_git() & entries.keys())

    def locate(self, text: str) -> str | None:
        path = Path(os.path.normpath(self._working_folder / text))
        try:
            candidates = (path, path.resolve())
            path.exists()
        except (OSError, ValueError):
            return None
        relative = [
            candidate.relative_to(self._root) for candidate in candidates if candidate.is_relative_to(self._root)
        ]
        return relative[0].as_posix() if relative else None

    def at(self, ref: str) -> Checkout:
        raise Wrong("is not a commit: there is no git repository")

    def read(self, path: str, *, limit: int) -> bytes:
        if self._plain(path):
            with open(os.open(self._top + path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                return file.read(limit)
        source = (self._root / path).resolve()
        if not source.is_relative_to(self._root):
            raise OSError(f"{path} leads out of {self._root}")
        with source.open("rb") as file:
            return file.read(limit)

    def _in_folder(self, item: Item, folder: str, rule: FolderRule, reasons: dict[str, str]) -> Iterator[CheckoutFile]:
        """Yield the file, or the files behind a link to a folder; write down the reason of what stays."""
        if item.is_folder:
            reasons[f"{item.path}/"] = item.reason or ""
            return
        is_included = rule.includes(below(item.path, folder))
        status = self._plain(item.source)
        if status is not None:
            reason = item.reason or (None if is_included else self._why_unwanted_file(item.source))
            if reason:
                reasons[item.path] = reason
            else:
                yield CheckoutFile(path=item.path, bytes=status.st_size, source=self._top + item.source)
            return
        reason = self._why_impossible(item.source) or item.reason
        if reason is None and not is_included:
            reason = self._why_unwanted(item.source)
        if reason:
            reasons[item.path] = reason
            return
        source = (self._root / item.source).resolve()
        if not source.is_dir():
            yield from self._entries_as(item.path, source)
        elif item.path == item.source:  # links in the target of a link are not followed
            target = source.relative_to(self._root).as_posix()
            for inner in walk(self._root, target, path=item.path, within=folder, rule=rule):
                yield from self._in_folder(inner, folder, rule, reasons)

    def _known_to_git(self) -> frozenset[str]:
        return frozenset()

    def _paths(self, prefixes: Iterable[str]) -> Iterator[str]:
        """Yield files and links under these prefixes, unsorted, without following links."""
        count = 0
        for prefix in prefixes:
            start = self._root / prefix
            if start.is_file() or start.is_symlink():
                yield prefix
            for folder, names, files in os.walk(start):
                names[:] = sorted(name for name in names if not name.startswith("."))
                links = [name for name in names if Path(folder, name).is_symlink()]
                above = Path(folder).relative_to(self._root).as_posix()
                for name in (*files, *links):
                    if not name.startswith("."):
                        count += 1
                        if count > MOST_FILES:
                            raise CvlError(f"{self._root} has more than {MOST_FILES} files: name a smaller folder.")
                        yield name if above == "." else f"{above}/{name}"

    def _entries(self, path: str) -> Iterator[CheckoutFile]:
        """Yield the file, or the target of a link: a file, or everything that belongs to a folder."""
        if status := self._plain(path):
            if self._why_unwanted(path) is None:
                yield CheckoutFile(path=path, bytes=status.st_size, source=self._top + path)
            return
        if self._why_not(path):
            return
        full = self._root / path
        source = full.resolve()
        if source.is_dir():
            target = source.relative_to(self._root).as_posix()
            for below in self._paths([target]):
                if not (self._root / below).is_symlink() and not self._why_not(below):
                    yield from self._entries_as(f"{path}/{below.removeprefix(target).lstrip('/')}", self._root / below)
        else:
            yield from self._entries_as(path, source)

    def _entries_as(self, path: str, source: Path) -> Iterator[CheckoutFile]:
        status = _status(source)
        if status is not None and stat.S_ISREG(status.st_mode):
            yield CheckoutFile(path=path, bytes=status.st_size, source=str(source))

    def _plain(self, path: str) -> os.stat_result | None:
        """Return the status of a regular file to which no link leads: by one look, where resolving takes one a folder.

        None: resolve the path, and see.
        """
        parent, _, name = path.rpartition("/")
        if path.startswith("/") or name in _NO_NAMES or not self._is_plain_folder(parent):
            return None
        status = _status(self._top + path)
        return status if status is not None and stat.S_ISREG(status.st_mode) else None

    def _is_plain_folder(self, path: str) -> bool:
        if not path:
            return True
        if path not in self._folders:
            parent, _, name = path.rpartition("/")
            plain = name not in _NO_NAMES and self._is_plain_folder(parent)
            status = _status(self._top + path) if plain else None
            self._folders[path] = status is not None and stat.S_ISDIR(status.st_mode)
        return self._folders[path]

    def _why_not(self, path: str) -> str | None:
        return self._why_impossible(path) or self._why_unwanted(path)

    def _why_unwanted(self, path: str) -> str | None:
        """Return the reason to omit a file without a request for it: credentials, and the outputs of earlier runs."""
        if self._plain(path) is not None:
            return self._why_unwanted_file(path)
        source = (self._root / path).resolve()
        names = {path, source.relative_to(self._root).as_posix()}
        if any(_OUTPUTS in name.split("/") for name in names):
            return OUTPUTS_REASON
        if source.is_file() and any(holds_credentials(name, partial(_begin, str(source))) for name in names):
            return REASON
        return None

    def _why_unwanted_file(self, path: str) -> str | None:
        """Return the reason for a regular file to which no link leads."""
        if _OUTPUTS in path.split("/"):
            return OUTPUTS_REASON
        return REASON if holds_credentials(path, partial(_begin, self._top + path)) else None

    def _why_impossible(self, path: str) -> str | None:
        if self._plain(path) is not None:
            return None
        full = self._root / path
        try:
            source = full.resolve(strict=True)
        except (OSError, RuntimeError):
            return "a link to nothing" if full.is_symlink() else "it no longer exists"
        if not source.is_relative_to(self._root):
            return "a link out of the repository"
        if ".git" in source.relative_to(self._root).parts:
            return REPOSITORY  # its configuration may hold a token: actions/checkout keeps one there
        if source.is_dir():
            return "a link to a folder around it" if full.is_relative_to(source) else None
        return None if source.is_file() else "neither a file nor a folder"


class GitCheckout(FolderCheckout):
    """A git repository: what it tracks, as it is in the working tree now."""

    def __init__(self, git: Git, *, working_folder: Path) -> None:
        super().__init__(git.root, working_folder=working_folder)
        self._git = git

    @property
    def head(self) -> str:
        return self._git.commit_of("HEAD")

    def at(self, ref: str) -> Checkout:
        start = self._git.commit_of(ref)
        if not start:
            raise Wrong(
                "is not a commit here; a shallow checkout lacks it: `fetch-depth: 0` for actions/checkout brings all"
            )
        common = self._git.run("merge-base", start, "HEAD")
        commit = common.text.strip() if common.is_success else start
        return CommitCheckout(self._git, working_folder=self._working_folder, commit=commit)

    def examples(self) -> Sequence[str]:
        pattern = f":(glob)**/{FILE_NAME}"
        folders = {*self._tracked([pattern]), *self._list("-o", "--exclude-standard", paths=[pattern])}
        return sorted(_directory(path) for path in folders if (self._root / path).is_file())

    def paths(self) -> Paths:
        return Paths([*self._tracked(["."]), *self._untracked(["."])])

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        self._folders.clear()
        tracked = self._staged(_literal(prefixes))
        unwanted = {path: why for path in self._untracked(prefixes) if (why := self._why_not(path))}
        submodules = {path: "a submodule" for mode, path in tracked if mode == _SUBMODULE}
        unusable = {path: why for mode, path in tracked if mode != _SUBMODULE and (why := self._why_not(path))}
        untracked = self._untracked(prefixes)
        included = {entry.path for entry in self.files(*prefixes)} if untracked else set[str]()
        new = [path for path in untracked if path not in included]
        return {**submodules, **unusable, **dict.fromkeys(new, "not tracked by git"), **unwanted}

    def _why_unwanted(self, path: str) -> str | None:
        """Return None for a file that git tracks: each copy already has it.

        It goes along with a warning (commands/prepare).
        """
        if self._plain(path) is not None:
            return self._why_unwanted_file(path)
        target = (self._root / path).resolve().relative_to(self._root).as_posix()
        return None if {path, target} <= self._all_tracked else super()._why_unwanted(path)

    def _why_unwanted_file(self, path: str) -> str | None:
        return None if path in self._all_tracked else super()._why_unwanted_file(path)

    def _known_to_git(self) -> frozenset[str]:
        return self._all_tracked

    @cached_property
    def _all_tracked(self) -> frozenset[str]:
        return frozenset(path for _, path in self._staged([]))

    def _paths(self, prefixes: Iterable[str]) -> Iterator[str]:
        """Yield the files that git tracks below each prefix.

        Without any the folder is new: then all that git does not ignore.
        """
        for prefix in prefixes:
            tracked = self._tracked(_literal([prefix]))
            yield from tracked or self._untracked([prefix])

    def _tracked(self, paths: Sequence[str]) -> Sequence[str]:
        return list(dict.fromkeys(path for mode, path in self._staged(paths) if mode != _SUBMODULE))

    def _untracked(self, prefixes: Iterable[str]) -> Sequence[str]:
        return self._list("-o", "--exclude-standard", paths=_literal(prefixes))

    def _staged(self, paths: Sequence[str]) -> Sequence[tuple[str, str]]:
        """Return mode and path of each entry."""
        lines = [line.partition("\t") for line in self._list("--stage", paths=paths)]
        return [(described.split(" ", 1)[0], path) for described, _, path in lines]

    def _list(self, *options: str, paths: Sequence[str]) -> Sequence[str]:
        answer = self._git.run("ls-files", "-z", *options, "--", *paths)
        if not answer.is_success:
            raise CvlError(f"git could not list {self._root}: {answer.reason}")
        return [os.fsdecode(path) for path in answer.output.split(b"\0") if path]


def _literal(prefixes: Iterable[str]) -> list[str]:
    return [f":(literal){prefix}" for prefix in prefixes]


def _begin(source: str, limit: int) -> bytes:
    with open(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        return file.read(limit)


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "."


def _status(path: Path | str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (OSError, ValueError):
        return None
