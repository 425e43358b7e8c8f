"""Git in one repository: the only place that runs it, with one environment, one time limit and one size limit."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cvl_ci.errors import CvlError

LONGEST_SECONDS = 600.0
"""Seconds for one command. A fetch of a large repository takes minutes; a remote that hangs never ends."""
MOST_BYTES = 1 << 30
"""The most bytes of one command's output. A list of 100,000 files has about 10 MB."""
MOST_ERROR_BYTES = 64 << 10

_SETTINGS = {
    "safe.directory": "*",
    "safe.bareRepository": "explicit",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.alternateRefsCommand": "true",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
}
"""They replace those of the repository, of which each can name a program: git-config(1)."""


@dataclass(frozen=True, kw_only=True)
class GitAnswer:
    """The end of one git command."""

    code: int
    output: bytes = b""
    errors: bytes = b""

    @property
    def is_success(self) -> bool:
        return self.code == 0

    @property
    def text(self) -> str:
        """The output. Bytes that are not UTF-8 survive a way back through `os.fsencode`."""
        return os.fsdecode(self.output)

    @property
    def error_lines(self) -> list[str]:
        return [line.strip() for line in self.errors.decode(errors="replace").splitlines() if line.strip()]

    @property
    def reason(self) -> str:
        """The first line of git's complaint."""
        return self.error_lines[0] if self.error_lines else "no reason given"


class Git:
    """Git in the repository `root`. No hook, filter or monitor of the repository runs, and no prompt appears."""

    def __init__(self, root: Path, *, program: str, seconds: float = LONGEST_SECONDS) -> None:
        self.root, self._program, self._seconds = root, program, seconds

    @classmethod
    def at(cls, root: Path, *, need: str) -> Git:
        """Return the installed git. `need`: the reason for a person. Raises CvlError where git is not installed."""
        git = cls.if_installed(root)
        if git is None:
            raise CvlError(f"git is not installed here, and {need}.")
        return git

    @classmethod
    def if_installed(cls, root: Path) -> Git | None:
        """Return the installed git, or None."""
        program = shutil.which("git")
        return cls(root, program=program) if program else None

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        is_remote: bool = False,
    ) -> GitAnswer:
        """Return the answer with any exit code. Raises CvlError past a limit.

        `stdin`: the standard input. `environ`: further variables, such as an author. `settings`: further ones of git.
        `is_remote`: the command reaches a remote, with the credentials of this checkout.
        """
        variables = {**_environment(self._program, settings or {}, is_remote=is_remote), **(environ or {})}
        with tempfile.TemporaryFile() as output:
            answer = self._print_into(output, words, stdin=stdin, variables=variables)
            size = output.tell()
            if size > MOST_BYTES:
                raise CvlError(f"git {words[0]} printed {size} bytes in {self.root}; {MOST_BYTES} are allowed.")
            output.seek(0)
            return GitAnswer(code=answer.code, output=output.read(), errors=answer.errors)

    def read(self, *words: str, stdin: bytes = b"") -> bytes:
        """Return the output. Raises CvlError where git fails."""
        return self._require_success(words[0], self.run(*words, stdin=stdin)).output

    def read_files(self, *words: str) -> bytes:
        """Return the output of a command that reads the working tree's files. Raises CvlError where git fails.

        Git would compare such a file through the filters of the repository's configuration. Here it has none.
        """
        answer = self.run("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
        names = [name for name in answer.text.split("\0") if name]
        settings = {name: "false" if name.endswith(".required") else "" for name in names}
        return self._require_success(words[0], self.run(*words, settings=settings)).output

    def line(self, *words: str) -> str:
        """Return the output as text, without white space around it. Raises CvlError where git fails."""
        return os.fsdecode(self.read(*words)).strip()

    def for_folder(self, folder: Path) -> Git:
        """Return the same program for another folder."""
        return Git(folder, program=self._program, seconds=self._seconds)

    def commit_of(self, ref: str) -> str:
        """Return the full name of a commit; empty where the repository lacks it."""
        answer = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        return answer.text.strip() if answer.is_success else ""

    def blob(self, name: str, *, limit: int = MOST_BYTES) -> bytes:
        """Return the first `limit` bytes of a blob. Raises CvlError."""
        with tempfile.TemporaryFile() as output:
            self.copy_blob(name, output)
            output.seek(0)
            return output.read(limit)

    def copy_blob(self, name: str, into: IO[bytes]) -> int:
        """Write a blob into an empty file. Return its size in bytes. Raises CvlError."""
        self._require_success(
            "cat-file", self._print_into(into, ("cat-file", "blob", name), variables=_environment(self._program))
        )
        return into.seek(0, os.SEEK_END)

    def _print_into(
        self, file: IO[bytes], words: Sequence[str], *, variables: Mapping[str, str], stdin: bytes = b""
    ) -> GitAnswer:
        """Run git with its output in a file, so that no answer fills the memory. The answer's own output is empty."""
        with tempfile.TemporaryFile() as complaint:
            try:
                process = subprocess.run(
                    [self._program, "-C", str(self.root), *words],
                    env=dict(variables),
                    input=stdin,
                    stdout=file,
                    stderr=complaint,
                    timeout=self._seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise CvlError(f"git {words[0]} took longer than {self._seconds:g} s in {self.root}.") from None
            file.seek(0, os.SEEK_END)
            complaint.seek(0)
            return GitAnswer(code=process.returncode, errors=complaint.read(MOST_ERROR_BYTES))

    def _require_success(self, verb: str, answer: GitAnswer) -> GitAnswer:
        if not answer.is_success:
            raise CvlError(f"git {verb} failed in {self.root}: {answer.reason}")
        return answer


def _environment(program: str, settings: Mapping[str, str] | None = None, *, is_remote: bool = False) -> dict[str, str]:
    """Return variables with which git runs nothing else and asks nothing. It trusts a directory of another owner.

    A partial clone fetches a missing blob within any command, so the protocols are limited for each: git(1). A variable
    can name each setting; a word after `-c` cannot, where a name holds `=`.
    """
    overrides = {**_SETTINGS, **({} if is_remote else {"credential.helper": ""}), **(settings or {})}
    numbered = {
        name: text
        for at, (key, value) in enumerate(overrides.items())
        for name, text in ((f"GIT_CONFIG_KEY_{at}", key), (f"GIT_CONFIG_VALUE_{at}", value))
    }
    return {
        "PATH": os.pathsep.join([str(Path(program).parent), os.defpath]),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file" if is_remote else "https:http",
        "GIT_CONFIG_COUNT": str(len(overrides)),
        **numbered,
    }
