"""A service without a network: the proxy's rule for the token, and a server that is ready at a moment.

tests/local/test_http_services.py holds it to the real adapter, with the machine's own proxy before a real server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cvl_ci.model.service import is_token
from cvl_ci.planning import answer_schema
from cvl_ci.ports import Clock, ServiceAnswer, ServiceRequest


@dataclass
class FakeServices:
    """`ready_at`: seconds of the clock from which the server accepts connections; None: never.

    `is_reachable`: whether the machine's port answers. `is_open`: a fault of the proxy, which lets strangers in.
    `is_distrusted`: whether its certificate is refused.
    """

    clock: Clock
    digest: str
    ready_at: float | None = 0.0
    is_reachable: bool = True
    is_open: bool = False
    is_distrusted: bool = False
    status: int = 200
    bodies: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.05
    asked: list[ServiceRequest] = field(default_factory=list)

    def mismatch(self, schema: Mapping[str, object], bodies: Sequence[bytes]) -> str:
        return next(filter(None, (answer_schema.mismatch(schema, body) for body in bodies)), "")

    def ask(self, request: ServiceRequest) -> ServiceAnswer:
        self.asked.append(request)
        self.clock.sleep(self.seconds)
        if not self.is_reachable:
            return ServiceAnswer(seconds=self.seconds, problem="ConnectionRefusedError: refused")
        if self.is_distrusted:
            problem = "SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED"
            return ServiceAnswer(seconds=self.seconds, problem=problem, is_distrusted=True)
        if not (self.is_open or is_token(request.token, self.digest)):
            return ServiceAnswer(status=401, seconds=self.seconds, is_from_proxy=True)
        if self.ready_at is None or self.clock.now() < self.ready_at:
            return ServiceAnswer(status=503, seconds=self.seconds, is_from_proxy=True)
        return ServiceAnswer(status=self.status, body=self.bodies.get(request.path, b"{}"), seconds=self.seconds)
