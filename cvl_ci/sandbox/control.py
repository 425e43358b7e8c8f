"""A client of the running emulator: a few requests to this computer's own loopback, through no proxy.

Inside a container the loopback is another one. The client then uses the network's gateway, where the emulator
answers questions but refuses commands. A user of Docker's socket can still end the emulator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.keys import Keys
from cvl_ci.sandbox.sandbox_spec import SandboxSpec

PREFIX = "/_sandbox"
LOOPBACK = "127.0.0.1"
KEY_HEADER = "X-Sandbox-Key"


class NoEmulatorAnswer(Exception):
    """No answer, or an answer of another program."""


class EmulatorRefused(SandboxError):
    """The emulator understood the request and refuses it."""


@dataclass(frozen=True, kw_only=True)
class EmulatorClient:
    host: str
    port: int
    key: str = field(repr=False)

    @property
    def is_local(self) -> bool:
        """Return whether the emulator runs on this side, and not outside this container."""
        return self.host == LOOPBACK

    def ask(
        self, verb: str, question: Mapping[str, object] | None = None, *, timeout: float = 5.0
    ) -> dict[str, object]:
        """Send a request: GET without a question, else POST. Raises NoEmulatorAnswer or EmulatorRefused."""
        import http.client  # it loads ssl and email, and no `--help` needs them

        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            body = None if question is None else json.dumps(question)
            connection.request("GET" if body is None else "POST", f"{PREFIX}/{verb}", body, {KEY_HEADER: self.key})
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoEmulatorAnswer(str(error)) from None
        finally:
            connection.close()
        if answer.status in (400, 403):
            raise EmulatorRefused(str(document.get("error")), next_step="Look at the sandbox: cvl-ci sandbox status")
        if answer.status != 200 or not isinstance(document, dict):
            raise NoEmulatorAnswer(f"status {answer.status}")
        return cast("dict[str, object]", document)


def find(spec: SandboxSpec, keys: Keys) -> EmulatorClient | None:
    """Return a client of exactly this sandbox's emulator, or None."""
    for host, patience in ((LOOPBACK, 5.0), (spec.networks[0].gateway, 1.0)):
        client = EmulatorClient(host=host, port=spec.port, key=keys.control)
        try:
            if client.ask("health", timeout=patience).get("id") == spec.id:
                return client
        except NoEmulatorAnswer:
            continue
    return None
