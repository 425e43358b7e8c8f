"""A service without a network: the proxy's rule for the token, and a server that is ready at a moment.

tests/local/test_http_services.py holds it to the real adapter, with the machine's own proxy before a real server.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cvl_ci.model.service import is_token
from cvl_ci.ports import Clock, ServiceAnswer, ServiceRequest


@dataclass
class FakeServices:
    """`ready_at`: seconds of the clock from which the server accepts connections; None: never.

    `is_reachable`: whether the machine's port answers. `is_open`: a fault of the proxy, which lets strangers in.
    """

    clock: Clock
    digest: str
    ready_at: float | None = 0.0
    is_reachable: bool = True
    is_open: bool = False
    status: int = 200
    bodies: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.05
    asked: list[ServiceRequest] = field(default_factory=list)

    def ask(self, request: ServiceRequest) -> ServiceAnswer:
        self.asked.append(request)
        self.clock.sleep(self.seconds)
        if not self.is_reachable:
            return ServiceAnswer(seconds=self.seconds, problem="ConnectionRefusedError: refused")
        if not (self.is_open or is_token(request.token, self.digest)):
            return ServiceAnswer(status=401, seconds=self.seconds, is_from_proxy=True)
        if self.ready_at is None or self.clock.now() < self.ready_at:
            return ServiceAnswer(status=503, seconds=self.seconds, is_from_proxy=True)
        return ServiceAnswer(status=self.status, body=self.bodies.get(request.path, b"{}"), seconds=self.seconds)
