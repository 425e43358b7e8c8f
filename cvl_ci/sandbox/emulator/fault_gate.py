"""The gate of each API call: it records the action and may apply a fault."""
# ruff: noqa: SLF001  # to stand before parts of moto is this file's work

from __future__ import annotations

import ipaddress
import json
import random
import threading
from pathlib import Path
from typing import Any

from flask import request
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.s3.responses import S3Response

from cvl_ci.sandbox import sandbox_spec
from cvl_ci.sandbox.docker.networks import guest_range
from cvl_ci.sandbox.faults import Faults
from cvl_ci.sandbox.sandbox_spec import ACTIONS, FAULTS, SandboxSpec

LOST = "sandbox.answer_is_lost"
"""The mark on a request whose answer must not arrive."""


class Gate:
    def __init__(self, directory: Path, spec: SandboxSpec, *, dice: random.Random) -> None:
        self._directory = directory
        self._gateways = {network.gateway for network in spec.networks}
        self._networks = [network.cidr for network in spec.networks]
        self._dice = dice
        self._lock = threading.Lock()
        self._seen: dict[str, set[str]] = {"client": set(), "machine": set()}
        self._faults = Faults()
        self._stamp: tuple[int, int] | None = None

    def install(self) -> None:
        answer, check_s3 = BaseResponse.call_action, S3Response._authenticate_and_authorize_s3_action

        def call_action(response: Any) -> Any:
            action, service = response._get_action(), str(response.service_name)
            if not action:
                return answer(response)
            self.note(service, action)
            if self.expired(str(request.headers.get("Authorization", ""))):
                return response.serialized(ActionResult(_refusal(response, *_expired(service))))
            if self.throttled(action, region=response.region):
                return response.serialized(ActionResult(_refusal(response, *_limit_exceeded(service))))
            if action in self.faults().lost_answers:
                request.environ[LOST] = True
            return answer(response)

        def check_s3_action(response: Any, *args: Any, **kwargs: Any) -> Any:
            # S3 has ways of its own; this is where every one of its actions has got its name.
            self.note("s3", str(response.data.get("Action", "?")))
            return check_s3(response, *args, **kwargs)

        BaseResponse.call_action = call_action
        S3Response._authenticate_and_authorize_s3_action = check_s3_action

    def faults(self) -> Faults:
        """Return the faults in the file now. A file that it cannot understand changes nothing; the log names it."""
        path = self._directory / FAULTS
        try:
            about = path.stat()
        except OSError:
            self._stamp, self._faults = None, Faults()
            return self._faults
        stamp = (about.st_mtime_ns, about.st_ino)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._faults = Faults.from_json(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                print(f"{path}: {error}", flush=True)
        return self._faults

    def throttled(self, action: str, *, region: str) -> bool:
        return any(
            throttle.action in ("*", action)
            and throttle.region in (None, region)
            and self._dice.random() < throttle.probability
            for throttle in self.faults().throttle
        )

    def expired(self, authorization: str) -> bool:
        """Return whether an expired key signed.

        `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, ...`.
        """
        _, _, credential = authorization.partition("Credential=")
        return credential.partition("/")[0] in self.faults().expired_keys

    def note(self, service: str, action: str) -> None:
        """Record who called which action. Clients and machines stand apart, because they have different rights."""
        caller = "machine" if self._from_machine(request.remote_addr or "") else "client"
        name = f"{service}:{action}"
        with self._lock:
            if name in self._seen[caller]:
                return
            self._seen[caller].add(name)
            if self._directory.is_dir():
                sandbox_spec.write_json(
                    self._directory / ACTIONS, {key: sorted(actions) for key, actions in self._seen.items()}
                )

    def _from_machine(self, address: str) -> bool:
        """Return whether a machine called: not this host at a gateway, nor a container that joined the network."""
        if not address or address in self._gateways:
            return False
        caller = ipaddress.ip_address(address)
        return any(caller in ipaddress.ip_network(cidr) and caller not in guest_range(cidr) for cidr in self._networks)


def _limit_exceeded(service: str) -> tuple[str, str]:
    return "RequestLimitExceeded" if service == "ec2" else "Throttling", "Request limit exceeded."


def _expired(service: str) -> tuple[str, str]:
    """Return EC2's own code, "Common client errors" of its API reference. STS and others use ExpiredToken."""
    return "RequestExpired" if service == "ec2" else "ExpiredToken", "Request has expired."


def _refusal(response: Any, code: str, message: str) -> ServiceException:
    """Return an exception that moto can write down. moto recognizes the service by the exception's module."""
    kind = type("Refusal", (ServiceException,), {"__module__": type(response).__module__})
    error: ServiceException = kind(code, message)
    return error
