"""The layer before moto: our own few requests, and the fault of an API that is down."""

from __future__ import annotations

import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, NoReturn

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from cvl_ci.sandbox.control import KEY_HEADER, LOOPBACK, PREFIX
from cvl_ci.sandbox.emulator import image_mirror
from cvl_ci.sandbox.emulator.bucket_gate import BucketGate, CutOff
from cvl_ci.sandbox.emulator.ec2 import GONE, EmulatedEc2, NoSuchInstance
from cvl_ci.sandbox.emulator.fault_gate import LOST, Gate
from cvl_ci.sandbox.emulator.image_mirror import ImageMirror
from cvl_ci.sandbox.emulator.registry_gate import RegistryGate
from cvl_ci.sandbox.emulator.signatures import Keyring, refusal
from cvl_ci.sandbox.sandbox_spec import SandboxSpec
from cvl_ci.sandbox.status import Instance

FOR_ALL = ("health", "instances", "zones")
"""Requests that each container of this host may make, machines included: they change nothing."""
_KEY = f"HTTP_{KEY_HEADER.upper().replace('-', '_')}"
Answer = tuple[int, dict[str, object]]


class Front:
    """A WSGI application around moto's."""

    def __init__(
        self,
        spec: SandboxSpec,
        cloud: EmulatedEc2,
        gate: Gate,
        end: threading.Event,
        *,
        keyring: Keyring,
        control: str,
        images: ImageMirror,
    ) -> None:
        self._spec, self._cloud, self._gate, self._end = spec, cloud, gate, end
        self._keyring, self._control, self._images = keyring, control, images
        self._buckets = BucketGate(gate.faults)
        self._registry = RegistryGate(spec.registry)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._questions: dict[str, Callable[[Mapping[str, Any]], dict[str, object]]] = {
            "health": self._health,
            "instances": self._instances,
            "zones": self._zones,
            "interrupt": self._interrupt,
            "kill": self._kill,
            "stop": self._stop,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self._answer(environ, start_response)
        if environ["REQUEST_METHOD"] == "HEAD":  # moto and the refusals have a body for it too
            return (b"" for _ in answer)
        return answer

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ["PATH_INFO"])
        if path.startswith(f"{PREFIX}/"):
            return _say(start_response, *self._control_answer(path.removeprefix(f"{PREFIX}/"), environ))
        if self._registry.takes(environ):
            return self._registry(environ, start_response)
        if path.startswith(image_mirror.PREFIX):  # no bucket has a name of two letters
            return self._images(environ, start_response)
        down = self._gate.faults().api_down
        if down == "closed":
            _close_connection(environ)
        if down:
            start_response("503 Service Unavailable", [("Content-Type", "text/html"), ("Connection", "close")])
            return [b"<html><body>503 Service Unavailable: a fault of this sandbox</body></html>"]
        refused = refusal(environ, self._keyring)
        if refused is not None:
            kind, body = refused.body()
            start_response(refused.status, [("Content-Type", kind), ("Connection", "close")])
            return [body]
        try:
            answer = self._buckets.answer(environ, start_response, application=self._moto)
        except CutOff:
            _close_connection(environ)
        if environ.get(LOST):
            b"".join(answer)
            _close_connection(environ)
        return _until_cut(answer, environ)

    def _control_answer(self, verb: str, environ: dict[str, Any]) -> Answer:
        if not hmac.compare_digest(str(environ.get(_KEY, "")).encode(), self._control.encode()):
            return 403, {"error": "Only the user who started this sandbox may request this."}
        answer = self._questions.get(verb)
        if answer is None:
            return 404, {"error": f"no such request: {verb}"}
        if verb not in FOR_ALL and environ["REMOTE_ADDR"] != LOOPBACK:
            return 403, {"error": "This request is possible only where the sandbox was started."}
        length = int(environ.get("CONTENT_LENGTH") or 0)
        question = json.loads(environ["wsgi.input"].read(length)) if length else {}
        try:
            return 200, answer(question)
        except NoSuchInstance as error:
            return 400, {"error": error.what}

    def _health(self, _: Mapping[str, Any]) -> dict[str, object]:
        return {"id": self._spec.id}

    def _instances(self, _: Mapping[str, Any]) -> dict[str, object]:
        return {
            "instances": [
                asdict(describe(record, self._cloud.ends.get(record.id))) for _, record in self._cloud.records()
            ]
        }

    def _zones(self, _: Mapping[str, Any]) -> dict[str, object]:
        return {
            backend.region_name: [(zone.name, zone.zone_id) for zone in backend.describe_availability_zones()]
            for backend in self._cloud.backends()
        }

    def _interrupt(self, question: Mapping[str, Any]) -> dict[str, object]:
        self._cloud.interrupt(question["instance"], notice_seconds=float(question["notice_seconds"]))
        return {}

    def _kill(self, question: Mapping[str, Any]) -> dict[str, object]:
        self._cloud.kill(question["instance"], looks_running=bool(question["looks_running"]))
        return {}

    def _stop(self, question: Mapping[str, Any]) -> dict[str, object]:
        if question["id"] != self._spec.id:
            raise NoSuchInstance(f"This is sandbox {self._spec.id}.")
        print("a client requested the end", flush=True)
        self._end.set()
        return {}


def _close_connection(environ: Mapping[str, Any]) -> NoReturn:
    """Close the connection without an answer.

    The server takes this error for a caller that has gone, and logs nothing.
    """
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("closed: a fault of this sandbox")


def _until_cut(answer: Iterable[bytes], environ: Mapping[str, Any]) -> Iterator[bytes]:
    try:
        yield from answer
    except CutOff:
        _close_connection(environ)


def describe(instance: Any, ended_at: datetime | None) -> Instance:
    return Instance(
        id=instance.id,
        region=instance.region_name,
        zone=instance.availability_zone,
        state=instance.state,
        instance_type=instance.instance_type,
        spot=instance.lifecycle == "spot",
        address=None if instance.state in GONE else instance.private_ip,
        launched_at=f"{instance.launch_time:%Y-%m-%dT%H:%M:%SZ}",
        ended_at=f"{ended_at:%Y-%m-%dT%H:%M:%SZ}" if ended_at else None,
        tags={tag["key"]: tag["value"] for tag in instance.get_tags()},
    )


def _say(start_response: Callable[..., Any], status: int, document: Mapping[str, object]) -> Iterable[bytes]:
    body = json.dumps(document).encode()
    words = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}
    start_response(
        f"{status} {words[status]}", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]
