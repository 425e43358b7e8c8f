"""The ImageBuilder port with the docker command: a login stands in a folder of its own, and in no command line."""

from __future__ import annotations

import base64
import json
import re
import stat
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cvl_ci.errors import ImageError
from cvl_ci.model.container_image import DOCKER_HUB, PLATFORM, ImageName, RegistryLogin
from cvl_ci.ports.images import ImageBuild, LocalImage, Tell
from cvl_ci.result.sanitize import plain

BUILD_SECONDS, PUSH_SECONDS, ASK_SECONDS = 3600.0, 3600.0, 60.0
SHOWN_LINES = 15
LONGEST_LINE = 2000
_PUSHED = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")
_HUB_KEY = "https://index.docker.io/v1/"
"""Docker Hub's name in Docker's config.json (docker/cli, cli/config/configfile)."""
_LOGINS = frozenset({"auths", "credsStore", "credHelpers"})
"""Keys of that file with logins of all registries, or with the way to them."""
_FOLDERS = ("contexts", "cli-plugins")
"""Parts of that folder that lead to the engine and to `docker build`."""


class DockerImages:
    """The docker command. `environ` leads to it and to its engine. `config`: the user's own settings of it."""

    def __init__(self, environ: Mapping[str, str], *, config: Mapping[str, Any]) -> None:
        self._environ, self._config = {**environ, "DOCKER_CLI_HINTS": "false"}, config
        self._own_folder = _own_folder(environ)

    def local_image(self, name: str) -> LocalImage | None:
        try:
            identity, _, origins = self._ask(
                "image", "inspect", "--format", "{{.Id}} {{len .RepoDigests}}", name
            ).partition(" ")
        except ImageError:
            return None
        return LocalImage(id=identity, is_made_here=origins == "0")

    def build(self, build: ImageBuild, *, tell: Tell) -> None:
        arguments = [word for key, value in build.arguments.items() for word in ("--build-arg", f"{key}={value}")]
        pull = ["--pull"] if build.pulls else []
        words = ["build", "--platform", PLATFORM, *pull, *arguments, "--tag", str(build.name), str(build.folder)]
        with self._logged_in(build.logins) as config:
            code, lines = self._run(["--config", config, *words], seconds=BUILD_SECONDS, tell=tell)
        if code:
            raise ImageError(
                f"The image was not built. The last lines of `docker build`:\n{_indented(lines)}",
                next_step="Mend the Dockerfile, and run this again.",
            )

    def push(self, name: ImageName, login: RegistryLogin | None) -> str:
        with self._logged_in({name.host: login}) as config:
            code, lines = self._run(["--config", config, "push", str(name)], seconds=PUSH_SECONDS, tell=lambda _: None)
        digests = [match[1] for line in lines for match in [_PUSHED.search(line)] if match]
        if code or not digests:
            raise ImageError(
                f"The registry {name.host} did not take the image: {lines[-1] if lines else 'docker push ended'}",
                next_step=f"Check that the repository {name.path} exists there, and that the login may write to it.",
            )
        return digests[-1]

    @contextmanager
    def _logged_in(self, logins: Mapping[str, RegistryLogin | None]) -> Iterator[str]:
        """Yield a folder with Docker's settings and these logins alone, which only this user can read; then remove it.

        It has no other login of the user, because SIGKILL leaves the folder.
        """
        with tempfile.TemporaryDirectory(prefix="cvl-ci-docker-") as folder:
            settings = {key: value for key, value in self._config.items() if key not in _LOGINS}
            own = self._config.get("auths")
            auths = dict(own) if isinstance(own, dict) else {}
            keys = {_HUB_KEY if host == DOCKER_HUB else host: login for host, login in logins.items()}
            auths |= {key: {"auth": _pair(login)} for key, login in keys.items() if login is not None}
            settings["auths"] = {key: value for key, value in auths.items() if key in keys}
            for name in _FOLDERS:
                if (self._own_folder / name).is_dir():
                    (Path(folder) / name).symlink_to((self._own_folder / name).resolve())
            (Path(folder) / "config.json").write_text(json.dumps(settings), encoding="utf-8")
            yield folder

    def _ask(self, *words: str) -> str:
        code, lines = self._run(list(words), seconds=ASK_SECONDS, tell=lambda _: None)
        if code:
            raise ImageError(
                f"`docker {words[0]}` failed: {lines[-1] if lines else 'it printed nothing'}",
                next_step="Check that a Docker Engine runs here: docker info",
            )
        return lines[-1].strip() if lines else ""

    def _run(self, words: Sequence[str], *, seconds: float, tell: Tell) -> tuple[int, list[str]]:
        """Run a command, and return its exit code and its last lines. It ends at its limit, and with this block."""
        last: deque[str] = deque(maxlen=SHOWN_LINES)
        pipe, merged = subprocess.PIPE, subprocess.STDOUT
        try:
            process = subprocess.Popen(
                ["docker", *words], env=self._environ, stdin=subprocess.DEVNULL, stdout=pipe, stderr=merged
            )
        except FileNotFoundError:
            raise ImageError(
                "There is no `docker` command, and an image is built with it.",
                next_step="Install a Docker Engine, or give an image that is in a registry already: --image",
            ) from None
        is_over = threading.Event()

        def end() -> None:
            is_over.set()
            process.kill()

        limit = threading.Timer(seconds, end)
        limit.daemon = True
        limit.start()
        try:
            while process.stdout and (line := process.stdout.readline(LONGEST_LINE)):
                if text := plain(line.decode(errors="replace")).strip():
                    last.append(text)
                    tell(text)
            code = process.wait()
        finally:
            limit.cancel()
            with suppress(OSError):
                process.kill()
            with process:
                pass
        if is_over.is_set():
            last.append(f"docker was ended after {seconds:.0f} s")
            return code or 1, list(last)
        return code, list(last)


def own_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the user's own settings of Docker; empty: there are none that can be read."""
    try:
        settings = json.loads((_own_folder(environ) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def make_modes_plain(folder: Path) -> None:
    """Give files and folders the modes that git knows: a Dockerfile copies modes, and each umask has its own."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            is_executable = path.is_dir() or bool(path.stat().st_mode & stat.S_IXUSR)
            path.chmod(0o755 if is_executable else 0o644)


def _own_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/") / ".docker")


def _pair(login: RegistryLogin) -> str:
    return base64.b64encode(f"{login.user}:{login.password.reveal()}".encode()).decode()


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines) or "  (none)"
