"""The machines: one container an instance, at the address that EC2 reports. This module knows nothing of EC2."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.backoff import Pace
from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.engine import LABEL, Docker, DockerFailed
from cvl_ci.sandbox.docker.networks import Network
from cvl_ci.sandbox.docker.seccomp import profile_file
from cvl_ci.sandbox.emulator.registry_gate import FORWARDER
from cvl_ci.sandbox.sandbox_spec import SandboxSpec

INSTANCE_LABEL = f"{LABEL}-instance"
REBOOT = 3
FOLLOWING = Pace(every_seconds=0.5)
"""The tries to follow the Docker Engine's events again, after they broke off."""
"""The exit code of a container whose machine reboots, see machine/boot."""

BROKEN_DRIVER = (
    "printf '#!/bin/sh\\necho No devices were found\\nexit 6\\n' > /usr/local/bin/nvidia-smi"
    " && chmod 755 /usr/local/bin/nvidia-smi"
)
"""The driver of a machine whose GPUs fell off the bus: nvidia-smi(1), RETURN VALUE."""
FUSE = "/dev/fuse"
"""The device that a mounted bucket needs."""
RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
"""The first file lists the real servers behind a resolver on the loopback."""
PRIVILEGES = (
    # The needs of an inner Docker Engine and no more: --privileged fails where the host itself lacks a capability.
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined"),
)


@dataclass(frozen=True, kw_only=True)
class Boot:
    """The start of one machine. `wait`: seconds before the SSH server starts, or "never"."""

    instance: str
    network: Network
    address: str
    wait: str
    labels: Mapping[str, str]
    has_broken_gpus: bool = False


class Watcher(Protocol):
    """The receiver of ends that no command here caused."""

    def alive(self) -> Iterable[str]: ...
    def machine_ended(self, instance: str, *, code: int | None) -> None: ...


class MachineContainers:
    def __init__(self, spec: SandboxSpec, docker: Docker) -> None:
        self._spec = spec
        self._docker = docker
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def start_all(self, boots: Iterable[Boot]) -> None:
        self._for_all(self._start, list(boots))

    def remove(self, instances: Iterable[str]) -> None:
        """Remove the machines. An absent one is a success."""
        self._for_all(self._remove, list(instances))

    def stop(self, instances: Iterable[str]) -> None:
        self._for_all(lambda instance: self._command(instance, "stop", "--time", "3"), list(instances))

    def start_again(self, instances: Iterable[str]) -> None:
        self._for_all(lambda instance: self._command(instance, "start", is_boot=True), list(instances))

    def restart(self, instances: Iterable[str]) -> None:
        self._for_all(lambda instance: self._command(instance, "restart", "--time", "3", is_boot=True), list(instances))

    def remove_all(self) -> None:
        """Remove all machines of this sandbox, but never the container in which this process may run."""
        self._docker.remove_all(self._spec.id, lambda line: print(line, flush=True), only=INSTANCE_LABEL)

    def watch(self, watcher: Watcher) -> None:
        """Report each machine that ends without a command from here. Never returns."""
        while True:
            try:
                self._compare(watcher)
                self._follow(watcher)
            except (SandboxError, OSError, ValueError) as error:
                print("watching the machines:", error, flush=True)
            FOLLOWING.pause()

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _name(self, instance: str) -> str:
        return f"cvl-ci-{self._spec.id}-{instance}"

    def _start(self, boot: Boot) -> None:
        name = self._name(boot.instance)
        labels = {**boot.labels, LABEL: self._spec.id, INSTANCE_LABEL: boot.instance}
        fuse = ("--device", FUSE) if Path(FUSE).exists() else ()
        with self._attending(boot.instance), profile_file() as seccomp:
            self._docker.run(
                "run", "--detach", "--init", "--name", name, "--hostname", f"ip-{boot.address.replace('.', '-')}",
                "--network", boot.network.name, "--ip", boot.address, "--shm-size", "1g", *PRIVILEGES, *fuse,
                "--security-opt", f"seccomp={seccomp}",
                "--mount", f"type=volume,target=/var/lib/docker,volume-label={LABEL}={self._spec.id}",
                *(word for key, value in labels.items() for word in ("--label", f"{key}={value}")),
                "--env", f"SANDBOX_ENDPOINT={self._spec.endpoint_url}",
                "--env", f"SANDBOX_METADATA=http://{boot.network.gateway}:{self._spec.metadata_port}",
                "--env", f"SANDBOX_BOOT_SECONDS={boot.wait}",
                "--env", f"SANDBOX_DNS={' '.join(resolvers())}",
                self._spec.image,
            )  # fmt: skip
            self._forward_registry(name)
            if boot.has_broken_gpus:
                self._docker.run("exec", name, "sh", "-c", BROKEN_DRIVER)

    def _remove(self, instance: str) -> None:
        with self._attending(instance):
            try:
                self._docker.run("rm", "--force", "--volumes", self._name(instance))
            except DockerFailed as error:
                if not any(word in error.output.lower() for word in ("no such", "already in progress")):
                    raise

    def _command(self, instance: str, *words: str, is_boot: bool = False) -> None:
        with self._attending(instance):
            self._docker.run(*words, self._name(instance))
            if is_boot:
                self._forward_registry(self._name(instance))

    def _forward_registry(self, name: str) -> None:
        """Let this computer's registry answer at its own address inside a machine."""
        registry, (gateway, _, port) = self._spec.registry, self._spec.endpoint_url[7:].rpartition(":")
        if registry:
            own_port = registry.rpartition(":")[2]
            self._docker.run("exec", "--detach", name, "python3", "-c", FORWARDER, own_port, gateway, port)

    @contextmanager
    def _attending(self, instance: str) -> Iterator[None]:
        """Mark a machine as busy: while a command changes it, its end is not reported."""
        with self._lock:
            self._busy.add(instance)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(instance)

    def _for_all(self, work: Callable[..., None], items: list[str] | list[Boot]) -> None:
        """Do the work for all items at once, since machines of one call are independent.

        Raises the first failure, after all of them have ended.
        """
        if items:
            with ThreadPoolExecutor(max_workers=len(items)) as pool:
                for future in [pool.submit(work, item) for item in items]:
                    future.result()

    def _follow(self, watcher: Watcher) -> None:
        filters = ("type=container", "event=die", "event=destroy", f"label={LABEL}={self._spec.id}")
        words = [word for filter_ in filters for word in ("--filter", filter_)]
        with self._docker.reading("events", *words, "--format", "{{json .}}") as events:
            # Another comparison finds events from before this line.
            self._compare(watcher)
            for line in events.lines():
                about = json.loads(line)["Actor"]["Attributes"]
                instance = about.get(INSTANCE_LABEL)
                if instance:
                    self._report(watcher, instance, code=int(about["exitCode"]) if "exitCode" in about else None)

    def _report(self, watcher: Watcher, instance: str, *, code: int | None) -> None:
        if instance in self._busy:
            return
        state = self._state(instance)
        if state != "running":
            watcher.machine_ended(instance, code=code if state else None)

    def _state(self, instance: str) -> str:
        """Return Docker's word for the state; empty without a container. Docker's list would be late by an instant."""
        try:
            return self._docker.run("container", "inspect", "--format", "{{.State.Status}}", self._name(instance))
        except DockerFailed as error:
            if "no such" in error.output.lower():
                return ""
            raise

    def _compare(self, watcher: Watcher) -> None:
        """Report machines that EC2 believes in but that do not run: their events came while we did not listen."""
        form = f'{{{{.Label "{INSTANCE_LABEL}"}}}}'
        running = set(self._docker.lines("ps", "--filter", f"label={LABEL}={self._spec.id}", "--format", form))
        for instance in watcher.alive():
            if instance not in running:
                self._report(watcher, instance, code=1)


def resolvers(files: Iterable[Path] = RESOLVERS) -> list[str]:
    """Return the name servers of this host, without those on its own loopback."""
    for file in files:
        if file.exists():
            words = [line.split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
            servers = [words_[1] for words_ in words if len(words_) > 1 and words_[0] == "nameserver"]
            if reachable := [server for server in servers if not server.startswith(("127.", "::1"))]:
                return reachable
    return []
