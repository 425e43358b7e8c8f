"""What every cloud's file answers, and what it is told of this machine. Values only; no secret shows in a repr."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci.inputs import action_variables
from cvl_ci.inputs.credential_fields import BY_NAME
from cvl_ci.model.access import CloudAccess

OIDC = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
ALLOW_OIDC = "allow GitHub's OIDC token: `permissions: id-token: write` (never given to runs of forks)"


@dataclass(frozen=True, kw_only=True)
class Here:
    """This machine as a cloud's file sees it. `folder`: ours alone, for files whose place we may choose."""

    environ: Mapping[str, str] = field(repr=False)
    home: Path
    folder: Path
    has_program: Callable[[str], bool]
    has_module: Callable[[str], bool]
    has_instance_role: Callable[[], bool] = lambda: False
    writes: bool = True
    """False in a terminal: nothing is written there, so a key in a variable that SkyPilot does not read is none."""
    id_token: Callable[[str], str] = field(default=lambda _: "", repr=False)
    """GitHub's OIDC token for an audience."""

    def given(self, name: str) -> str:
        """An input, else the variable that says the same."""
        return self.as_input(name) or self.variable(BY_NAME[name].variable)

    def to_write(self, name: str) -> str:
        """As given, for what SkyPilot only reads from a file."""
        return self.given(name) if self.writes else ""

    def as_input(self, name: str) -> str:
        return action_variables.value(self.environ, name)

    def variable(self, name: str) -> str:
        return self.environ.get(name, "").strip()

    def exists(self, path: str) -> bool:
        """`~` is this HOME and not the one of passwd, as SkyPilot in our environment sees it."""
        return self.at(path).is_file()

    def at(self, path: str) -> Path:
        return self.home / path[2:] if path.startswith("~/") else Path(path)

    @property
    def oidc(self) -> bool:
        return all(self.variable(name) for name in OIDC)


@dataclass(frozen=True, kw_only=True)
class Login:
    """A cloud's own program that must be told once. `leaves`: the directory it then writes, if it was not there."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    leaves: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Written:
    """What to write before a cloud can be used. `without`: variables that would win over it, and must go."""

    files: Mapping[Path, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    without: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    logins: tuple[Login, ...] = ()
    stays_here: bool = False
    """Machines need no copy: this cloud gives them an identity of their own."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One cloud: `look` says how things stand, `write` what its SkyPilot check then reads."""

    cloud: str
    look: Callable[[Here], CloudAccess]
    write: Callable[[Here], Written]


def lacking(here: Here, *, programs: Mapping[str, str], modules: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Programs and Python modules that are not installed, and how to have them."""
    gone = {f"the program `{name}`": how for name, how in programs.items() if not here.has_program(name)}
    gone |= {f"the Python package `{name}`": how for name, how in modules.items() if not here.has_module(name)}
    return list(gone), list(dict.fromkeys(gone.values()))
