"""One sandbox: an emulated AWS in one directory, which starts and stops on request.

Its label marks everything it makes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

from cvl_ci.backoff import Pace
from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import control, emulator_container, emulator_process, keys, sandbox_spec, sky_home, usage_lock
from cvl_ci.sandbox.control import EmulatorClient
from cvl_ci.sandbox.docker import image, in_container, leftovers, networks, ports
from cvl_ci.sandbox.docker.engine import LABEL, Docker, DockerFailed
from cvl_ci.sandbox.faults import Faults
from cvl_ci.sandbox.machine_types import MachineType, regions_of
from cvl_ci.sandbox.sandbox_spec import ACTIONS, FAULTS, SandboxSpec
from cvl_ci.sandbox.sky_home import SkyAccess
from cvl_ci.sandbox.status import Instance, Status
from cvl_ci.sandbox.timer import Timer

START_SECONDS = 60.0
PROBE_SECONDS = "60"
"""Seconds for one answer. A firewall answers nothing, and a busy computer answers late."""
STOP_SECONDS = 30.0
"""Seconds in which the emulator must end. It removes its machines first."""
README = """\
A sandbox of cvl-ci: an AWS emulated on this machine's Docker. It costs nothing, and its keys open nothing real.
Stop it with `cvl-ci sandbox down`. Then you may delete this directory.
"""


class Sandbox:
    """One sandbox a directory. `environment` leads to docker; `progress` receives a line for each slow step."""

    def __init__(
        self,
        directory: Path,
        *,
        machine_types: Sequence[MachineType],
        environment: Mapping[str, str],
        progress: Callable[[str], None],
    ) -> None:
        self._directory = directory.resolve()
        self._types = tuple(machine_types)
        self._environment = environment
        self._progress = progress
        self._docker = Docker(environment)

    @cached_property
    def _container(self) -> in_container.Container | None:
        """Return the container in which this process runs; None on a plain host."""
        return in_container.this_container(self._docker)

    @cached_property
    def _id(self) -> str:
        """Return the sandbox's id: that of its directory, as the host names it. Inside containers it may differ."""
        container, inside = self._container, self._directory
        path = container.on_host(inside) if container else inside
        return sandbox_spec.identity(Path(path) if path else Path(f"/{container.id if container else ''}{inside}"))

    def up(self) -> SkyAccess:
        """Start the sandbox from any state and return the access to it. Takes under a second when it is up already."""
        with self._locked():
            spec, client = self._running()
            if spec is None or client is None:
                return self._access(self._start())
            sandbox_spec.require_same(spec, self._types, self._environment)
            if not client.is_local:
                in_container.join(self._docker, spec.networks)
            if not (self._access(spec).home / sky_home.CATALOGUE).is_dir():
                self._write_home(spec, client)
            return self._access(spec)

    def access(self) -> SkyAccess:
        """Return the access to a running sandbox. Raises SandboxError when it is not up."""
        return self._access(self._require_running()[0])

    @contextlib.contextmanager
    def in_use(self, *, keep: bool = False, needed: Callable[[Status], bool] = lambda _: False) -> Iterator[SkyAccess]:
        """Keep the sandbox up during one run.

        Concurrent runs share it. If a run started it, the last run stops it; a sandbox that a person started stays up.
        `keep`: it stays up in any case. `needed`: decides at the end whether a machine still needs it. Then it stays up
        until its last machine has ended, and ends by itself.
        """
        with usage_lock.use(self._directory) as usage:
            if not self.status().up:
                usage.mark_started_by_run()
            try:
                yield self.up()
            finally:
                if keep:
                    usage.unmark_started_by_run()
                self._down_if_orphaned(usage, needed)

    @contextlib.contextmanager
    def in_use_for_removal(self, *, needed: Callable[[Status], bool] = lambda _: False) -> Iterator[SkyAccess | None]:
        """Open the sandbox to end the leftovers of a run. Never starts it; yields None when it is not up.

        First stops a sandbox that a run started, if no other run uses it and it is not `needed`.
        """
        with usage_lock.use(self._directory) as usage:
            self._down_if_orphaned(usage, needed)
            yield self.up() if self.status().up else None

    def list_leftovers(self, lease: str | None) -> tuple[str, ...]:
        """Return what Docker still holds: everything of this sandbox, and machines of this lease in any sandbox."""
        return leftovers.find(self._docker, self._id, lease=lease)

    def remove_leftovers(self, names: Sequence[str]) -> None:
        self.down()
        leftovers.remove_machines(self._docker, names)

    def status(self, *, with_size: bool = False) -> Status:
        """Return the present state. `with_size`: ask Docker for the size of the image too, which takes 0.1 s."""
        spec, client = self._running()
        if spec is None or client is None:
            return Status(up=False, id=self._id, directory=str(self._directory), leftovers=self._leftovers())
        answer = cast("list[dict[str, object]]", client.ask("instances")["instances"])
        return Status(
            up=True,
            id=self._id,
            directory=str(self._directory),
            endpoint_url=spec.endpoint_url,
            instances=tuple(Instance.from_json(instance) for instance in answer),
            image=spec.image,
            image_bytes=image.size(self._docker, spec.image) if with_size else None,
            faults=self.faults(),
        )

    def down(self) -> None:
        """Stop the sandbox from any state. Afterwards nothing of it runs. The machine image remains."""
        was_there = self._directory.exists()
        with self._locked():
            self._require_reachable()
            self._stop()
            self._docker.remove_all(self._id, self._progress)
            networks.remove(self._docker, self._id)
            for name in (sandbox_spec.FILE, FAULTS):
                (self._directory / name).unlink(missing_ok=True)
            shutil.rmtree(self._directory / keys.FOLDER, ignore_errors=True)
            sky_home.forget_skypilot(self._directory / "home")
        if not was_there:
            shutil.rmtree(self._directory)

    def reset(self) -> None:
        """Empty the sandbox: no machines, no buckets, no faults, and SkyPilot remembers none."""
        with self._locked():
            self._require_reachable()
            self._stop()
            (self._directory / FAULTS).unlink(missing_ok=True)
            (self._directory / ACTIONS).unlink(missing_ok=True)
            self._start()

    def set_faults(self, faults: Faults) -> None:
        """Set the faults. They hold from the next API call on. The sandbox need not be up."""
        self._directory.mkdir(parents=True, exist_ok=True)
        sandbox_spec.write_json(self._directory / FAULTS, faults.to_json())

    def faults(self) -> Faults:
        try:
            return Faults.from_json(json.loads((self._directory / FAULTS).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Faults()

    def interrupt(self, instance: str, *, notice_seconds: float = 120.0) -> None:
        """Preempt a spot machine: its metadata shows the notice now, and it ends after that many seconds."""
        self._require_running()[1].ask("interrupt", {"instance": instance, "notice_seconds": notice_seconds})

    def kill(self, instance: str, *, looks_running: bool = False) -> None:
        """End a machine at once. With `looks_running` EC2 still reports it as running, as with a dead host."""
        self._require_running()[1].ask("kill", {"instance": instance, "looks_running": looks_running}, timeout=30)

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _start(self) -> SandboxSpec:
        watch = Timer()
        self._docker.check()
        self._require_persistent_directory()
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "README").write_text(README, encoding="utf-8")
        self._stop()
        if self._docker.remove_all(self._id, self._progress):
            self._progress("their emulated cloud had ended: starting an empty one")
        sky_home.forget_skypilot(self._directory / "home")
        before = sandbox_spec.load(self._directory)
        last_time = () if before is None else (before.port, before.metadata_port, before.skypilot_port)
        own = self._container
        if own:
            self._image()  # the first build takes minutes, so look at the host's free ports and routes after it
        host = emulator_container.probe_host(self._docker, own, self._id, preferred=last_time) if own else None
        routes = host.routes if host else networks.host_routes()
        own_networks = networks.ensure(self._docker, self._id, regions_of(self._types), routes)
        self._join_networks(own_networks)
        tag = self._image()
        addresses = [ports.LOOPBACK, *(network.gateway for network in own_networks)]
        port, metadata_port, skypilot_port = host.ports if host else ports.free(3, hosts=addresses, preferred=last_time)
        spec = SandboxSpec(
            id=self._id,
            image=tag,
            networks=tuple(own_networks),
            port=port,
            metadata_port=metadata_port,
            skypilot_port=skypilot_port,
            machine_types=self._types,
            registry=self._environment.get(sandbox_spec.REGISTRY, ""),
        )
        if keys.load(self._directory) is None:
            keys.create(self._directory)
        sandbox_spec.save(self._directory, spec)
        client = self._await(spec, self._start_emulator(host.devices if host else ()))
        self._probe(spec)
        self._write_home(spec, client)
        self._progress(f"the emulated AWS is up at {spec.endpoint_url}, after {watch}")
        return spec

    def _require_persistent_directory(self) -> None:
        if self._container and self._container.on_host(self._directory) is None:
            raise SandboxError(
                f"The sandbox cannot start here: {self._directory} would end with this container.",
                next_step="Mount a directory of the host there, or set CVL_CI_SANDBOX_DIR to a mounted one.",
            )

    def _join_networks(self, own_networks: Sequence[networks.Network]) -> None:
        """Make the gateways local to the emulator, and the machines reachable for this process."""
        if self._container:
            in_container.join(self._docker, own_networks)
        else:
            in_container.require_local_gateways(own_networks)

    def _image(self) -> str:
        workshop = self._directory / "image"
        return image.ensure(self._docker, workshop=workshop, environment=self._environment, say=self._progress)

    def _start_emulator(self, devices: Sequence[str]) -> Callable[[], bool]:
        """Start the emulator and return a function that tells whether it is alive."""
        if self._container:
            place, environment = self._directory, self._environment
            name = emulator_container.start(
                self._docker, self._container, self._id, directory=place, environment=environment, devices=devices
            )
            return lambda: emulator_container.alive(self._docker, name)
        pid = emulator_process.start(self._directory, self._environment)
        return lambda: emulator_process.start_time(pid) is not None

    def _await(self, spec: SandboxSpec, alive: Callable[[], bool]) -> EmulatorClient:
        for _ in Pace(every_seconds=0.05, within_seconds=START_SECONDS).ticks():
            if not alive():
                break
            client = self._client(spec)
            if client is not None:
                return client
        raise SandboxError(
            f"The emulated cloud did not start. The end of its log:\n{emulator_process.log_tail(self._directory)}",
            next_step=f"The whole log is {self._directory / sandbox_spec.LOG}. Try again; if it fails, report it.",
        )

    def _probe(self, spec: SandboxSpec) -> None:
        """Check that a machine reaches the API: otherwise it would never boot. Raises SandboxError.

        The path is not an AWS action, so that the list of actions has no such entry. A refusal is an answer too.
        """
        network, somewhere = spec.networks[0], f"{spec.endpoint_url}/_sandbox/"
        words = ("run", "--rm", "--label", f"{LABEL}={self._id}", "--network", network.name, "--entrypoint", "curl")
        again = ("--retry", "9", "--retry-all-errors", "--retry-max-time", PROBE_SECONDS)  # routes may come late
        options = ("--silent", "--show-error", "--max-time", PROBE_SECONDS, *again, "--output", "/dev/null", somewhere)
        try:
            self._docker.run(*words, spec.image, *options, timeout=3 * float(PROBE_SECONDS))
        except DockerFailed as failure:
            self._stop()
            if not failure.output.startswith("curl: "):  # Docker did not carry out the question
                raise
            raise SandboxError(
                f"The sandbox's machines did not reach its API at {spec.endpoint_url} in {PROBE_SECONDS} s "
                f"({failure.output}). Usually a firewall stops them.",
                next_step=f"Let them in, for example: sudo ufw allow in from {network.cidr}",
            ) from None

    def _write_home(self, spec: SandboxSpec, client: EmulatorClient) -> None:
        zones = cast("dict[str, list[tuple[str, str]]]", client.ask("zones"))
        sky_home.write(self._access(spec), spec.machine_types, zones)

    def _access(self, spec: SandboxSpec) -> SkyAccess:
        return sky_home.access(self._directory, spec)

    def _running(self) -> tuple[SandboxSpec | None, EmulatorClient | None]:
        """Return the specification, and a client of the emulator if it answers."""
        spec = sandbox_spec.load(self._directory)
        return spec, self._client(spec) if spec else None

    def _client(self, spec: SandboxSpec) -> EmulatorClient | None:
        own_keys = keys.load(self._directory)
        return control.find(spec, own_keys) if own_keys else None

    def _require_running(self) -> tuple[SandboxSpec, EmulatorClient]:
        spec, client = self._running()
        if spec is None or client is None:
            raise SandboxError("This sandbox is not up.", next_step="Start it first: cvl-ci sandbox up")
        return spec, client

    def _require_reachable(self) -> None:
        """Raise SandboxError if the emulator answers but is neither a process nor a container that we can end."""
        _, client = self._running()
        if (
            client is not None
            and not emulator_process.find(self._directory)
            and not emulator_container.find(self._docker, self._id)
        ):
            raise SandboxError(
                "This sandbox was started outside this container.", next_step="Run this where it was started."
            )

    def _stop(self) -> None:
        """End the emulator, with or without its record: ask it, then kill it."""
        emulator_container.end(self._docker, self._id, seconds=STOP_SECONDS)
        process = emulator_process.find(self._directory)
        if process is not None:
            _, client = self._running()
            is_asked = False
            with contextlib.suppress(control.NoEmulatorAnswer):
                is_asked = client is not None and client.ask("stop", {"id": self._id}) == {}
            if not is_asked or not emulator_process.wait_gone(process, seconds=STOP_SECONDS):
                emulator_process.kill(process)
        (self._directory / emulator_process.FILE).unlink(missing_ok=True)

    def _down_if_orphaned(self, usage: usage_lock.Usage, needed: Callable[[Status], bool]) -> None:
        if usage_lock.is_started_by_run(self._directory) and not needed(self.status()) and usage.lock_for_removal():
            self.down()
            usage.unmark_started_by_run()

    def _leftovers(self) -> tuple[str, ...]:
        own_label = f"label={LABEL}={self._id}"
        return tuple(self._docker.lines("ps", "--all", "--filter", own_label, "--format", "{{.Names}}"))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock under which one process at a time starts or stops this sandbox."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
