"""The machines: containers, one an instance, at the address EC2 says. Nothing here knows what EC2 is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.engine import LABEL, Docker, DockerFailed
from cvl_ci.sandbox.docker.networks import Network
from cvl_ci.sandbox.docker.seccomp import profile_file
from cvl_ci.sandbox.sandbox_spec import Blueprint

INSTANCE_LABEL = f"{LABEL}-instance"
REBOOT = 3
"""How a container ends whose machine was told to reboot, see machine/boot."""

FUSE = "/dev/fuse"
"""What a mounted bucket takes."""
RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
"""The first says what is behind a resolver on the loopback."""
PRIVILEGES = (
    # What a Docker Engine inside needs, and no more: --privileged fails where the host itself lacks a capability.
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined"),
)


@dataclass(frozen=True, kw_only=True)
class Boot:
    """`wait`: seconds before the ssh server starts, or "never"."""

    instance: str
    network: Network
    address: str
    wait: str
    labels: Mapping[str, str]


class Watcher(Protocol):
    """Who must know when a machine ends by itself."""

    def alive(self) -> Iterable[str]: ...
    def ended(self, instance: str, *, code: int | None) -> None: ...


class Machines:
    def __init__(self, plan: Blueprint, docker: Docker) -> None:
        self._plan = plan
        self._docker = docker
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def start_all(self, boots: Iterable[Boot]) -> None:
        self._each(self._start, list(boots))

    def remove(self, instances: Iterable[str]) -> None:
        """Afterwards none of them is there. Gone already is gone."""
        self._each(self._remove, list(instances))

    def stop(self, instances: Iterable[str]) -> None:
        self._each(lambda instance: self._command(instance, "stop", "--time", "3"), list(instances))

    def start_again(self, instances: Iterable[str]) -> None:
        self._each(lambda instance: self._command(instance, "start"), list(instances))

    def restart(self, instances: Iterable[str]) -> None:
        self._each(lambda instance: self._command(instance, "restart", "--time", "3"), list(instances))

    def remove_all(self) -> None:
        """And not the container that we may be in ourselves."""
        self._docker.remove_all(self._plan.id, lambda line: print(line, flush=True), only=INSTANCE_LABEL)

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of every machine that ends without being told to here; for ever."""
        while True:
            try:
                self._compare(watcher)
                self._follow(watcher)
            except (SandboxError, OSError, ValueError) as error:
                print("watching the machines:", error, flush=True)
            time.sleep(0.5)

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _name(self, instance: str) -> str:
        return f"cvl-ci-{self._plan.id}-{instance}"

    def _start(self, boot: Boot) -> None:
        name = self._name(boot.instance)
        labels = {**boot.labels, LABEL: self._plan.id, INSTANCE_LABEL: boot.instance}
        fuse = ("--device", FUSE) if Path(FUSE).exists() else ()
        with self._attending(boot.instance), profile_file() as seccomp:
            self._docker.run(
                "run", "--detach", "--init", "--name", name, "--hostname", f"ip-{boot.address.replace('.', '-')}",
                "--network", boot.network.name, "--ip", boot.address, "--shm-size", "1g", *PRIVILEGES, *fuse,
                "--security-opt", f"seccomp={seccomp}",
                "--mount", f"type=volume,target=/var/lib/docker,volume-label={LABEL}={self._plan.id}",
                *(word for key, value in labels.items() for word in ("--label", f"{key}={value}")),
                "--env", f"SANDBOX_ENDPOINT={self._plan.endpoint_url}",
                "--env", f"SANDBOX_METADATA=http://{boot.network.gateway}:{self._plan.metadata_port}",
                "--env", f"SANDBOX_BOOT_SECONDS={boot.wait}",
                "--env", f"SANDBOX_DNS={' '.join(resolvers())}",
                self._plan.image,
            )  # fmt: skip

    def _remove(self, instance: str) -> None:
        with self._attending(instance):
            try:
                self._docker.run("rm", "--force", "--volumes", self._name(instance))
            except DockerFailed as error:
                if not any(word in error.said.lower() for word in ("no such", "already in progress")):
                    raise

    def _command(self, instance: str, *words: str) -> None:
        with self._attending(instance):
            self._docker.run(*words, self._name(instance))

    @contextmanager
    def _attending(self, instance: str) -> Iterator[None]:
        """While we do something to a machine, its end is no news."""
        with self._lock:
            self._busy.add(instance)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(instance)

    def _each(self, work: Callable[..., None], items: list[str] | list[Boot]) -> None:
        """All at once: machines of one call are independent. Raises the first failure, after all are done."""
        if items:
            with ThreadPoolExecutor(max_workers=len(items)) as pool:
                for done in [pool.submit(work, item) for item in items]:
                    done.result()

    def _follow(self, watcher: Watcher) -> None:
        filters = ("type=container", "event=die", "event=destroy", f"label={LABEL}={self._plan.id}")
        words = [word for each in filters for word in ("--filter", each)]
        with self._docker.reading("events", *words, "--format", "{{json .}}") as events:
            # What happened before this line is found by comparing once more.
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
            watcher.ended(instance, code=code if state else None)

    def _state(self, instance: str) -> str:
        """Docker's word for it; empty when there is no such container. Its list would be late by an instant."""
        try:
            return self._docker.run("container", "inspect", "--format", "{{.State.Status}}", self._name(instance))
        except DockerFailed as error:
            if "no such" in error.said.lower():
                return ""
            raise

    def _compare(self, watcher: Watcher) -> None:
        """Machines EC2 believes in that do not run: found when we were not looking."""
        form = f'{{{{.Label "{INSTANCE_LABEL}"}}}}'
        running = set(self._docker.lines("ps", "--filter", f"label={LABEL}={self._plan.id}", "--format", form))
        for instance in watcher.alive():
            if instance not in running:
                self._report(watcher, instance, code=1)


def resolvers(files: Iterable[Path] = RESOLVERS) -> list[str]:
    """The name servers this host asks, those on its own loopback apart."""
    for file in files:
        if file.exists():
            words = [line.split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
            servers = [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"]
            if found := [server for server in servers if not server.startswith(("127.", "::1"))]:
                return found
    return []
