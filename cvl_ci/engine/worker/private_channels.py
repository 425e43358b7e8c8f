"""Hide from other users what SkyPilot would expose: scripts in arguments, sockets in a shared folder, a shared key.

Each function replaces a part of SkyPilot 0.14.1 that tests/engine/test_contract.py looks for. In the worker process
only.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sky.backends import backend_utils
from sky.provision import docker_utils
from sky.utils import auth_utils, command_runner, common_utils

KEY_OF_ITS_OWN = {"aws", "azure"}
"""Clouds on which SkyPilot gives the public key to the machine alone (authentication.py, configure_ssh_info).

Elsewhere it also registers the key with the account, where a key for each lease would stay for ever.
"""

_folders: list[Path] = []


def send_scripts_as_files() -> None:
    """Send every script to a machine as a file. A short one would be an argument of ssh or kubectl, which `ps` shows.

    The script of a task holds its secrets. SkyPilot decides by length (command_runner.py:413, backend_utils.py:291).
    """
    base: Any = command_runner.CommandRunner
    base.is_command_length_over_limit = lambda _, __: True
    backend_utils._MAX_INLINE_SCRIPT_LENGTH = -1  # noqa: SLF001  read by is_command_length_over_limit


def log_in_to_registries_by_file() -> None:
    """Pass a registry's password to `docker login` in a file. SkyPilot makes it an argument (docker_utils.py:306)."""
    original = docker_utils.DockerInitializer._run  # noqa: SLF001  the one function that its commands go through

    def _run(self: Any, cmd: str, *arguments: Any, **options: Any) -> Any:
        words = shlex.split(cmd) if " login " in cmd and " --password " in cmd else []
        if "--password" not in words:
            return original(self, cmd, *arguments, **options)
        at = words.index("--password")
        password, remote = words[at + 1], f"~/.cvl-ci-{secrets.token_hex(8)}"
        words[at : at + 2] = ["--password-stdin"]
        with tempfile.NamedTemporaryFile("w", prefix="cvl-ci-") as file:
            file.write(password)
            file.flush()
            self.runner.rsync(source=file.name, target=remote, up=True, stream_logs=False)
        try:
            return original(self, f"{shlex.join(words)} < {remote}", *arguments, **options)
        finally:
            original(self, f"rm -f {remote}")

    docker_utils.DockerInitializer._run = _run  # noqa: SLF001


def keep_sockets_in(folder: Path) -> None:
    """Put the sockets of ssh connections into a private folder.

    A user who creates SkyPilot's `/tmp/sky_ssh_HASH` first could offer a socket of another program. `folder`: private
    and short. A socket's path may have 104 bytes, and ssh adds 58 to it (command_runner.py:132).
    """

    def control_path(name: str | None) -> str | None:
        if name is None:
            return None
        path = folder / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(path)

    command_runner._ssh_control_path = control_path  # type: ignore[attr-defined]  # noqa: SLF001
    _folders[:] = [folder]


def private_folder() -> Path:
    """Return the folder of this process alone. The process that started this one removes it."""
    return _folders[0]


def give_a_key_of_its_own(cluster: str, *, key: Mapping[str, str] | None = None) -> None:
    """Give the machines of this cluster a key pair that opens no other machine: the caller's, or one by SkyPilot.

    The private half lies on each of them. SkyPilot stores keys by the user's hash, on disk and in its records. The path
    names the hash, so every other process finds the key by the path in the cluster's record.
    """
    if key is not None:
        use_key(cluster, **key)
    original = getattr(backend_utils.write_cluster_config, "original", backend_utils.write_cluster_config)

    def write_cluster_config(to_provision: Any, *arguments: Any, **options: Any) -> Any:
        own = str(to_provision.cloud).lower() in KEY_OF_ITS_OWN
        with _keys_named(_key_name(cluster) if own else common_utils.get_user_hash()):
            return original(to_provision, *arguments, **options)

    write_cluster_config.original = original  # type: ignore[attr-defined]
    backend_utils.write_cluster_config = write_cluster_config


def use_key(cluster: str, *, private: str, public: str) -> None:
    """Give the machines of this cluster a key pair that the caller has. SkyPilot makes none where the files exist."""
    names = auth_utils.get_ssh_key_and_lock_path(_key_name(cluster))[:2]
    for path, text, mode in zip(names, (private, public), (0o600, 0o644), strict=True):
        file = Path(path).expanduser()
        half = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
                writing.write(text)
            half.replace(file)
        finally:
            half.unlink(missing_ok=True)  # no part of a key stays where a signal ended the writing


def forget_key(cluster: str) -> None:
    """Delete the key of a cluster whose machines are gone."""
    private, _, _ = auth_utils.get_ssh_key_and_lock_path(_key_name(cluster))
    shutil.rmtree(Path(private).expanduser().parent.parent, ignore_errors=True)


@contextlib.contextmanager
def _keys_named(name: str) -> Iterator[None]:
    """Replace the user's hash, the only value that auth_utils reads from common_utils."""
    auth_utils.common_utils = SimpleNamespace(get_user_hash=lambda: name)
    try:
        yield
    finally:
        auth_utils.common_utils = common_utils


def _key_name(cluster: str) -> str:
    return f"{common_utils.get_user_hash()}-{cluster}"
