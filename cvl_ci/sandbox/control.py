"""Our line to the running emulator: a few requests to this host's own loopback, through no proxy."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import cast

from cvl_ci.errors import SandboxError

PREFIX = "/_sandbox"


class NoAnswer(Exception):
    """Nothing answers there, or nothing of ours."""


class Refused(SandboxError):
    """The emulator understood, and cannot do it."""


def ask(
    port: int, verb: str, question: Mapping[str, object] | None = None, *, timeout: float = 5.0
) -> dict[str, object]:
    """One request to the emulator's own part: GET without a question, else POST."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        body = None if question is None else json.dumps(question)
        connection.request("GET" if body is None else "POST", f"{PREFIX}/{verb}", body)
        answer = connection.getresponse()
        document = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(str(error)) from None
    finally:
        connection.close()
    if answer.status == 400:
        raise Refused(str(document.get("error")), next_step="See what there is: cvl-ci sandbox status")
    if answer.status != 200 or not isinstance(document, dict):
        raise NoAnswer(f"status {answer.status}")
    return cast("dict[str, object]", document)
