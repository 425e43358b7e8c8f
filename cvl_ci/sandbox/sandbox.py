"""One sandbox: an emulated AWS in one directory, up and down at will. What it makes elsewhere carries its label."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import control, emulator_container, emulator_process, keys, sky_home, usage_lock
from cvl_ci.sandbox import machine_types as offers
from cvl_ci.sandbox import sandbox_spec as blueprints
from cvl_ci.sandbox.control import Line
from cvl_ci.sandbox.docker import image, in_container, networks, ports, remains
from cvl_ci.sandbox.docker.engine import LABEL, Docker, DockerFailed
from cvl_ci.sandbox.faults import Faults
from cvl_ci.sandbox.machine_types import MachineType
from cvl_ci.sandbox.sandbox_spec import ACTIONS, FAULTS, Blueprint
from cvl_ci.sandbox.sky_home import Access
from cvl_ci.sandbox.status import Instance, Status
from cvl_ci.sandbox.timer import Stopwatch

START_SECONDS = 60.0
PROBE_SECONDS = "30"
"""What a firewall drops is never answered; on a busy computer an answer takes long."""
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

    @cached_property
    def _us(self) -> in_container.Container | None:
        """The container we run in; None on a plain host."""
        return in_container.ourselves(self._docker)

    @cached_property
    def _id(self) -> str:
        """Of the directory as the host names it: jobs have theirs at one path, each in containers of its own."""
        kept = self._us.on_host(self._directory) if self._us else self._directory
        return blueprints.identity(Path(kept) if kept else Path(f"/{self._us.id if self._us else ''}{self._directory}"))

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
                in_container.join(self._docker, plan.networks)
            if not (self._access(plan).home / sky_home.CATALOGUE).is_dir():
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
        with usage_lock.visit(self._directory) as visit:
            if not self.status().up:
                visit.note_that_a_run_brings_it_up()
            try:
                yield self.up()
            finally:
                if keep:
                    visit.forget_who_brought_it_up()
                self._end_if_forsaken(visit, needed)

    @contextlib.contextmanager
    def visited_to_end(self, *, needed: Callable[[Status], bool] = lambda _: False) -> Iterator[Access | None]:
        """To end what a run may have left. What a run had brought up is taken down first, when nobody else is in it
        and it is not `needed`; for this it is never brought up. None: it is not up."""
        with usage_lock.visit(self._directory) as visit:
            self._end_if_forsaken(visit, needed)
            yield self.up() if self.status().up else None

    def remains(self, lease: str | None) -> tuple[str, ...]:
        """What Docker still has of it while it is down, and of any sandbox's machines those of this lease."""
        return remains.left(self._docker, self._id, lease=lease)

    def remove_remains(self, names: Sequence[str]) -> None:
        self.down()
        remains.remove_machines(self._docker, names)

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
            self._want_it_in_reach()
            self._stop()
            self._docker.remove_all(self._id, self._say)
            networks.remove(self._docker, self._id)
            for name in (blueprints.FILE, FAULTS):
                (self._directory / name).unlink(missing_ok=True)
            shutil.rmtree(self._directory / keys.FOLDER, ignore_errors=True)
            sky_home.forget_skypilot(self._directory / "home")
        if not was_there:
            shutil.rmtree(self._directory)

    def reset(self) -> None:
        """As new: no machines, no buckets, no faults, and SkyPilot remembers none."""
        with self._alone():
            self._want_it_in_reach()
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
        self._want_a_lasting_place()
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "README").write_text(README, encoding="utf-8")
        self._stop()
        if self._docker.remove_all(self._id, self._say):
            self._say("the emulated cloud they belonged to was gone: starting afresh, with an empty one")
        sky_home.forget_skypilot(self._directory / "home")
        before = blueprints.load(self._directory)
        last_time = () if before is None else (before.port, before.metadata_port, before.skypilot_port)
        if self._us:
            self._image()  # the first time this takes minutes: what is free on the host is looked at after them
        taken = (
            emulator_container.look_at_host(self._docker, self._us, self._id, preferred=last_time) if self._us else None
        )
        routes = taken.routes if taken else networks.host_routes()
        nets = networks.ensure(self._docker, self._id, offers.regions_of(self._types), routes)
        self._settle_among(nets)
        tag = self._image()
        addresses = [ports.LOOPBACK, *(network.gateway for network in nets)]
        port, metadata_port, skypilot_port = (
            taken.ports if taken else ports.free(3, hosts=addresses, preferred=last_time)
        )
        plan = Blueprint(
            id=self._id,
            image=tag,
            networks=tuple(nets),
            port=port,
            metadata_port=metadata_port,
            skypilot_port=skypilot_port,
            machine_types=self._types,
        )
        if keys.load(self._directory) is None:
            keys.create(self._directory)
        blueprints.save(self._directory, plan)
        line = self._await(plan, self._start_emulator(taken.devices if taken else ()))
        self._probe(plan)
        self._furnish(plan, line)
        self._say(f"an AWS of our own is up at {plan.endpoint_url}, after {watch}")
        return plan

    def _want_a_lasting_place(self) -> None:
        if self._us and self._us.on_host(self._directory) is None:
            raise SandboxError(
                f"A sandbox cannot be brought up from here: {self._directory} would end with this container.",
                next_step="Mount a directory of the host there, or say where one is: CVL_CI_SANDBOX_DIR.",
            )

    def _settle_among(self, nets: Sequence[networks.Network]) -> None:
        """The emulator must find the gateways where it will be, and we the machines."""
        if self._us:
            in_container.join(self._docker, nets)
        else:
            in_container.want_gateways_here(nets)

    def _image(self) -> str:
        workshop = self._directory / "image"
        return image.ensure(self._docker, workshop=workshop, environment=self._environment, say=self._say)

    def _start_emulator(self, devices: Sequence[str]) -> Callable[[], bool]:
        """Whether it is still there."""
        if self._us:
            place, ours = self._directory, self._environment
            name = emulator_container.start(
                self._docker, self._us, self._id, directory=place, environment=ours, devices=devices
            )
            return lambda: emulator_container.alive(self._docker, name)
        pid = emulator_process.start(self._directory, self._environment)
        return lambda: emulator_process.started(pid) is not None

    def _await(self, plan: Blueprint, alive: Callable[[], bool]) -> Line:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and alive():
            line = self._line(plan)
            if line is not None:
                return line
            time.sleep(0.05)
        raise SandboxError(
            f"The emulated cloud did not come up. Its last words:\n{emulator_process.last_words(self._directory)}",
            next_step=f"The whole log is {self._directory / blueprints.LOG}. Try again; if it fails again, report it.",
        )

    def _probe(self, plan: Blueprint) -> None:
        """A machine that cannot call home never boots, and nobody would see why. What is asked for is no action of
        AWS's, or it would be written down as one that a run needs; that it is refused is an answer."""
        network, somewhere = plan.networks[0], f"{plan.endpoint_url}/_sandbox/"
        words = ("run", "--rm", "--label", f"{LABEL}={self._id}", "--network", network.name, "--entrypoint", "curl")
        try:
            self._docker.run(
                *words, plan.image, "--silent", "--max-time", PROBE_SECONDS, "--output", "/dev/null", somewhere
            )
        except DockerFailed:
            self._stop()
            raise SandboxError(
                f"The sandbox's machines did not reach its API at {plan.endpoint_url} in {PROBE_SECONDS} s: "
                "most often a firewall stops them.",
                next_step=f"Let them in, for example: sudo ufw allow in from {network.cidr}",
            ) from None

    def _furnish(self, plan: Blueprint, line: Line) -> None:
        zones = cast("dict[str, list[tuple[str, str]]]", line.ask("zones"))
        sky_home.write(self._access(plan), plan.machine_types, zones)

    def _access(self, plan: Blueprint) -> Access:
        return sky_home.access(self._directory, plan)

    def _running(self) -> tuple[Blueprint | None, Line | None]:
        """The plan, and the line to its emulator where that is alive."""
        plan = blueprints.load(self._directory)
        return plan, self._line(plan) if plan else None

    def _line(self, plan: Blueprint) -> Line | None:
        known = keys.load(self._directory)
        return control.find(plan, known) if known else None

    def _needed(self) -> tuple[Blueprint, Line]:
        plan, line = self._running()
        if plan is None or line is None:
            raise SandboxError("This sandbox is not up.", next_step="Bring it up first: cvl-ci sandbox up")
        return plan, line

    def _want_it_in_reach(self) -> None:
        """Whoever answers must be a process or a container that we can end."""
        _, line = self._running()
        if (
            line is not None
            and not emulator_process.found(self._directory)
            and not emulator_container.found(self._docker, self._id)
        ):
            raise SandboxError(
                "This sandbox was brought up outside of this container.", next_step="Do this where it was brought up."
            )

    def _stop(self) -> None:
        """End the emulator, with or without its record: it is asked, then killed."""
        emulator_container.end(self._docker, self._id, seconds=STOP_SECONDS)
        process = emulator_process.found(self._directory)
        if process is not None:
            _, line = self._running()
            asked = False
            with contextlib.suppress(control.NoAnswer):
                asked = line is not None and line.ask("stop", {"id": self._id}) == {}
            if not asked or not emulator_process.wait_gone(process, seconds=STOP_SECONDS):
                emulator_process.kill(process)
        (self._directory / emulator_process.FILE).unlink(missing_ok=True)

    def _end_if_forsaken(self, visit: usage_lock.Visit, needed: Callable[[Status], bool]) -> None:
        if usage_lock.brought_up_by_a_run(self._directory) and not needed(self.status()) and visit.may_end_it():
            self.down()
            visit.forget_who_brought_it_up()

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
