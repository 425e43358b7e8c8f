"""One sandbox: an emulated AWS in one directory, up and down at will. What it makes elsewhere carries its label."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import blueprint as blueprints
from cvl_ci.sandbox import control, daemon, guest, home, image, networks, offers, visitors
from cvl_ci.sandbox.blueprint import ACTIONS, FAULTS, Blueprint
from cvl_ci.sandbox.control import Line
from cvl_ci.sandbox.docker import LABEL, Docker, DockerFailed
from cvl_ci.sandbox.faults import Faults
from cvl_ci.sandbox.home import Access
from cvl_ci.sandbox.offers import MachineType
from cvl_ci.sandbox.status import Instance, Status
from cvl_ci.sandbox.stopwatch import Stopwatch

START_SECONDS = 60.0
STOP_SECONDS = 30.0
"""It removes its machines first."""
README = """\
A sandbox of cvl-ci: an AWS emulated on this machine's Docker. Nothing in here costs anything or opens anything.
Take it down with `cvl-ci sandbox down`; afterwards this directory may be deleted.
"""


class Sandbox:
    """Two of them are two directories. `environment` finds docker; `progress` hears what takes time."""

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
        self._say = progress
        self._docker = Docker(environment)
        self._id = blueprints.identity(self._directory)

    def up(self) -> Access:
        """Whatever was there before, it is up afterwards. Under a second when it is up already."""
        with self._alone():
            plan, line = self._running()
            if plan is None or line is None:
                return self._access(self._start())
            if offers.fingerprint(plan.machine_types) != offers.fingerprint(self._types):
                raise SandboxError(
                    "This sandbox is up, and sells other machines than are asked for now.",
                    next_step="Take it down first (cvl-ci sandbox down), then up again.",
                )
            if not line.at_home:
                guest.join(self._docker, plan.networks)
            if not (self._access(plan).home / home.CATALOGUE).is_dir():
                self._furnish(plan, line)
            return self._access(plan)

    def access(self) -> Access:
        """To a sandbox that is up; SandboxError where none is."""
        return self._access(self._needed()[0])

    @contextlib.contextmanager
    def visited(self, *, keep: bool = False, needed: Callable[[Status], bool] = lambda _: False) -> Iterator[Access]:
        """Up for the time of one run. Runs side by side share it: when a run had brought it up, the last one to leave
        takes it down again; one that a person brought up stays. `keep`: it stays all the same. `needed`: asked at the
        end; then it stays until its last machine has ended, when it ends by itself."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / visitors.FILE).open("a") as guests:
            fcntl.flock(guests, fcntl.LOCK_SH)
            if not self.status().up:
                (self._directory / visitors.BROUGHT_UP).touch()
            try:
                yield self.up()
            finally:
                if keep:
                    (self._directory / visitors.BROUGHT_UP).unlink(missing_ok=True)
                if (
                    (self._directory / visitors.BROUGHT_UP).exists()
                    and not needed(self.status())
                    and visitors.alone_in(guests)
                ):
                    self.down()
                    (self._directory / visitors.BROUGHT_UP).unlink(missing_ok=True)

    def status(self) -> Status:
        plan, line = self._running()
        if plan is None or line is None:
            return Status(up=False, id=self._id, directory=str(self._directory), leftovers=self._leftovers())
        answer = cast("list[dict[str, object]]", line.ask("instances")["instances"])
        return Status(
            up=True,
            id=self._id,
            directory=str(self._directory),
            endpoint_url=plan.endpoint_url,
            instances=tuple(Instance.from_json(each) for each in answer),
            image=plan.image,
            image_bytes=image.size(self._docker, plan.image),
            faults=self.faults(),
        )

    def down(self) -> None:
        """Nothing of this sandbox runs afterwards, whatever state it was in. The machine image is kept."""
        was_there = self._directory.exists()
        with self._alone():
            self._want_to_be_at_home()
            self._stop()
            self._docker.remove_all(self._id, self._say)
            networks.remove(self._docker, self._id)
            for name in (blueprints.FILE, FAULTS):
                (self._directory / name).unlink(missing_ok=True)
            home.forget_skypilot(self._directory / "home")
        if not was_there:
            shutil.rmtree(self._directory)

    def reset(self) -> None:
        """As new: no machines, no buckets, no faults, and SkyPilot remembers none."""
        with self._alone():
            self._want_to_be_at_home()
            self._stop()
            (self._directory / FAULTS).unlink(missing_ok=True)
            (self._directory / ACTIONS).unlink(missing_ok=True)
            self._start()

    def set_faults(self, faults: Faults) -> None:
        """From the next call of the API on; it may be set before the sandbox is up."""
        self._directory.mkdir(parents=True, exist_ok=True)
        blueprints.write_json(self._directory / FAULTS, faults.to_json())

    def faults(self) -> Faults:
        try:
            return Faults.from_json(json.loads((self._directory / FAULTS).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Faults()

    def interrupt(self, instance: str, *, notice_seconds: float = 120.0) -> None:
        """Take a spot machine back: the notice is in its metadata now, the end comes after that many seconds."""
        self._needed()[1].ask("interrupt", {"instance": instance, "notice_seconds": notice_seconds})

    def kill(self, instance: str, *, looks_running: bool = False) -> None:
        """The machine dies at once. With `looks_running` EC2 goes on calling it running, as with a dead host."""
        self._needed()[1].ask("kill", {"instance": instance, "looks_running": looks_running}, timeout=30)

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _start(self) -> Blueprint:
        watch = Stopwatch()
        self._docker.check()
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "README").write_text(README, encoding="utf-8")
        self._stop()
        if self._docker.remove_all(self._id, self._say):
            self._say("the emulated cloud they belonged to was gone: starting afresh, with an empty one")
        home.forget_skypilot(self._directory / "home")
        nets = networks.ensure(self._docker, self._id, offers.regions_of(self._types), networks.host_routes())
        guest.want_gateways_here(nets)
        tag = image.ensure(
            self._docker, workshop=self._directory / "image", environment=self._environment, say=self._say
        )
        before = blueprints.load(self._directory)
        last_time = () if before is None else (before.port, before.metadata_port, before.skypilot_port)
        port, metadata_port, skypilot_port = _free_ports(3, nets, last_time)
        plan = Blueprint(
            id=self._id,
            image=tag,
            networks=tuple(nets),
            port=port,
            metadata_port=metadata_port,
            skypilot_port=skypilot_port,
            machine_types=self._types,
        )
        blueprints.save(self._directory, plan)
        line = self._await(plan, daemon.start(self._directory, self._environment))
        self._probe(plan)
        self._furnish(plan, line)
        self._say(f"an AWS of our own is up at {plan.endpoint_url}, after {watch}")
        return plan

    def _await(self, plan: Blueprint, pid: int) -> Line:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and daemon.started(pid) is not None:
            line = control.find(plan)
            if line is not None:
                return line
            time.sleep(0.05)
        raise SandboxError(
            f"The emulated cloud did not come up. Its last words:\n{daemon.last_words(self._directory)}",
            next_step=f"The whole log is {self._directory / blueprints.LOG}. Try again; if it fails again, report it.",
        )

    def _probe(self, plan: Blueprint) -> None:
        """A machine that cannot call home never boots, and nobody would see why."""
        network = plan.networks[0]
        words = ("run", "--rm", "--label", f"{LABEL}={self._id}", "--network", network.name, "--entrypoint", "curl")
        try:
            self._docker.run(
                *words, plan.image, "--silent", "--max-time", "5", "--output", "/dev/null", plan.endpoint_url
            )
        except DockerFailed:
            self._stop()
            raise SandboxError(
                f"The sandbox's machines cannot reach its API at {plan.endpoint_url}: a firewall stops them.",
                next_step=f"Let them in, for example: sudo ufw allow in from {network.cidr}",
            ) from None

    def _furnish(self, plan: Blueprint, line: Line) -> None:
        zones = cast("dict[str, list[tuple[str, str]]]", line.ask("zones"))
        home.write(self._access(plan), plan.machine_types, zones)

    def _access(self, plan: Blueprint) -> Access:
        return home.access(self._directory, plan)

    def _running(self) -> tuple[Blueprint | None, Line | None]:
        """The plan, and the line to its emulator where that is alive."""
        plan = blueprints.load(self._directory)
        return plan, control.find(plan) if plan else None

    def _needed(self) -> tuple[Blueprint, Line]:
        plan, line = self._running()
        if plan is None or line is None:
            raise SandboxError("This sandbox is not up.", next_step="Bring it up first: cvl-ci sandbox up")
        return plan, line

    def _want_to_be_at_home(self) -> None:
        _, line = self._running()
        if line is not None and not line.at_home:
            raise SandboxError(
                "This sandbox was brought up outside of this container.", next_step="Do this where it was brought up."
            )

    def _stop(self) -> None:
        """End the emulator, with or without its record: it is asked, then killed."""
        process = daemon.found(self._directory)
        if process is not None:
            _, line = self._running()
            asked = False
            with contextlib.suppress(control.NoAnswer):
                asked = line is not None and line.ask("stop", {"id": self._id}) == {}
            if not asked or not daemon.wait_gone(process, seconds=STOP_SECONDS):
                daemon.kill(process)
        (self._directory / daemon.FILE).unlink(missing_ok=True)

    def _leftovers(self) -> tuple[str, ...]:
        mine = f"label={LABEL}={self._id}"
        return tuple(self._docker.lines("ps", "--all", "--filter", mine, "--format", "{{.Names}}"))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several that bring one sandbox up or down, one at a time."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _free_ports(count: int, nets: Sequence[networks.Network], preferred: Sequence[int]) -> list[int]:
    """Ports free on every address the emulator listens on; those of last time if they are."""
    hosts = ["127.0.0.1", *(network.gateway for network in nets)]
    found = [port for port in preferred if _free(port, hosts)]
    for _ in range(100):
        if len(found) >= count:
            return found
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in found and _free(port, hosts):
            found.append(port)
    raise SandboxError("No free port was found for the emulated cloud.", next_step="See what listens: ss -ltn")


def _free(port: int, hosts: Sequence[str]) -> bool:
    try:
        for host in hosts:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
    except OSError:
        return False
    return True
