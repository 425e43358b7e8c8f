"""The interface of each cloud's credentials, and its view of this computer. Values only; no repr shows a secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci.inputs import action_variables
from cvl_ci.inputs.credential_inputs import BY_NAME
from cvl_ci.model.access import CloudAccess

OIDC = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
ALLOW_OIDC = "allow GitHub's OIDC token: `permissions: id-token: write` (GitHub gives none to runs of forks)"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """This computer, as a cloud's credentials see it. `folder`: a folder of our own, for files whose place is free."""

    environ: Mapping[str, str] = field(repr=False)
    home: Path
    folder: Path
    has_program: Callable[[str], bool]
    has_module: Callable[[str], bool]
    has_instance_role: Callable[[], bool] = lambda: False
    writes: bool = True
    """False in a terminal, where cvl-ci writes no files.

    A key in a variable that SkyPilot does not read is then useless.
    """
    id_token: Callable[[str], str] = field(default=lambda _: "", repr=False)
    """Returns GitHub's OIDC token for an audience."""

    def value(self, name: str) -> str:
        """Return an input's value, or else that of the variable with the same meaning."""
        return self.as_input(name) or self.variable(BY_NAME[name].variable)

    def value_for_file(self, name: str) -> str:
        """Return a value that SkyPilot reads from a file only. Empty where cvl-ci writes no files."""
        return self.value(name) if self.writes else ""

    def as_input(self, name: str) -> str:
        return action_variables.value(self.environ, name)

    def variable(self, name: str) -> str:
        return self.environ.get(name, "").strip()

    def exists(self, path: str) -> bool:
        """Return whether the file exists.

        `~` is this HOME and not that of passwd, as for SkyPilot in our environment.
        """
        return self.expand(path).is_file()

    def expand(self, path: str) -> Path:
        """Return the path with this HOME for `~`."""
        return self.home / path[2:] if path.startswith("~/") else Path(path)

    @property
    def oidc(self) -> bool:
        return all(self.variable(name) for name in OIDC)


@dataclass(frozen=True, kw_only=True)
class Login:
    """A cloud's own program that must run once. `leaves`: the directory that it creates, if it did not exist."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    leaves: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CredentialFiles:
    """The files and variables that a cloud needs before use.

    `without`: variables that would override them, to remove.
    """

    files: Mapping[Path, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    without: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    logins: tuple[Login, ...] = ()
    stays_here: bool = False
    """Whether machines need no copy, because the cloud gives them an identity of their own."""


@dataclass(frozen=True, kw_only=True)
class CredentialProvider:
    """One cloud's credentials.

    `check` inspects them; `write` returns the files and variables that SkyPilot's check reads.
    """

    cloud: str
    check: Callable[[Environment], CloudAccess]
    write: Callable[[Environment], CredentialFiles]


def find_missing(
    environment: Environment, *, programs: Mapping[str, str], modules: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the programs and Python modules that are not installed, and how to install them."""
    absent = {
        f"the program `{name}`": install for name, install in programs.items() if not environment.has_program(name)
    }
    missing_modules = [name for name in modules if not environment.has_module(name)]
    absent |= {f"the Python package `{name}`": modules[name] for name in missing_modules}
    return list(absent), list(dict.fromkeys(absent.values()))
