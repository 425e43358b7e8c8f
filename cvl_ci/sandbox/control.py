"""Our line to the running emulator: a few requests to this host's own loopback, through no proxy.

From inside a container, where the loopback is another one, it is heard at its gateway: there it answers, and obeys not.
Whoever has Docker's socket may end it all the same.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.keys import Keys
from cvl_ci.sandbox.sandbox_spec import Blueprint

PREFIX = "/_sandbox"
LOOPBACK = "127.0.0.1"
KEY_HEADER = "X-Sandbox-Key"


class NoAnswer(Exception):
    """Nothing answers there, or nothing of ours."""


class Refused(SandboxError):
    """The emulator understood, and does not do it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    host: str
    port: int
    key: str = field(repr=False)

    @property
    def at_home(self) -> bool:
        """Whether we are where the emulator is, and not in a container beside it."""
        return self.host == LOOPBACK

    def ask(
        self, verb: str, question: Mapping[str, object] | None = None, *, timeout: float = 5.0
    ) -> dict[str, object]:
        """GET without a question, else POST."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            body = None if question is None else json.dumps(question)
            connection.request("GET" if body is None else "POST", f"{PREFIX}/{verb}", body, {KEY_HEADER: self.key})
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(str(error)) from None
        finally:
            connection.close()
        if answer.status in (400, 403):
            raise Refused(str(document.get("error")), next_step="See what there is: cvl-ci sandbox status")
        if answer.status != 200 or not isinstance(document, dict):
            raise NoAnswer(f"status {answer.status}")
        return cast("dict[str, object]", document)


def find(plan: Blueprint, keys: Keys) -> Line | None:
    """Where the emulator of this very sandbox answers."""
    for host, patience in ((LOOPBACK, 5.0), (plan.networks[0].gateway, 1.0)):
        line = Line(host=host, port=plan.port, key=keys.control)
        try:
            if line.ask("health", timeout=patience).get("id") == plan.id:
                return line
        except NoAnswer:
            continue
    return None
