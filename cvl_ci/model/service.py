"""A service: a server of a job, its port, its probe, and the end of its lease. Values only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from cvl_ci.model.replicas import ReplicaPlan
from cvl_ci.model.secret import Secret

TTL_MINUTES = 240.0
"""The default life of a service in minutes, counted from its first answer."""
READY_SECONDS = 1200.0
PROBE_SECONDS = 15.0
"""SkyPilot's own defaults: sky/serve/constants.py, DEFAULT_INITIAL_DELAY_SECONDS and
DEFAULT_READINESS_PROBE_TIMEOUT_SECONDS."""
PUBLIC_PORTS = (8080, 8081)
"""The port that the cloud opens: the first port of these that the server itself does not use."""
TOKEN_VARIABLE = "CVL_CI_DEPLOY_TOKEN"  # noqa: S105  the name of a variable
WORLD = ("0.0.0.0/0",)


class ServerKind(Enum):
    """A server that cvl-ci knows. An OpenAI-compatible one takes a completion as its smoke request."""

    VLLM = "vLLM"
    SGLANG = "SGLang"
    TGI = "TGI"
    LLAMA_CPP = "llama.cpp"
    GRADIO = "Gradio"
    WEBSOCKET = "WebSocket"
    OTHER = "HTTP"

    @property
    def is_openai_compatible(self) -> bool:
        return self in {ServerKind.VLLM, ServerKind.SGLANG, ServerKind.TGI, ServerKind.LLAMA_CPP}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The readiness probe, in SkyPilot's words. `initial_delay_seconds`: the longest time until the first answer."""

    path: str = "/"
    initial_delay_seconds: float = READY_SECONDS
    timeout_seconds: float = PROBE_SECONDS


@dataclass(frozen=True, kw_only=True)
class TlsPlan:
    """The certificate with which the proxy of a service encrypts.

    `chain`: certificates as PEM, the server's own first. `key`: its private key as PEM, without a passphrase.
    `domain`: the name in the URL; empty: the URL has the address.
    """

    chain: str
    key: Secret
    domain: str = ""


@dataclass(frozen=True, kw_only=True)
class ServicePlan:
    """A server that one machine runs. `port`: its own port on the machine, which the cloud does not open.

    `token_digest`: the SHA-256 of the token, in hexadecimal digits. The machine gets no more than that.
    """

    port: int
    probe: Probe = Probe()
    kind: ServerKind = ServerKind.OTHER
    sources: tuple[str, ...] = ()
    """Where port, probe and schema come from, in words."""
    ttl_minutes: float = TTL_MINUTES
    allow: tuple[str, ...] = WORLD
    """The networks that may connect, as CIDR. The token is needed from each of them."""
    token_digest: str = ""
    replicas: ReplicaPlan | None = None
    """Several machines behind `sky serve`. None: one machine."""
    balancing: Mapping[str, object] = field(default_factory=dict)
    """The policy of `service:` for requests to several replicas, for its task alone."""
    smokes: bool = True
    """Whether smoke requests follow the first answer."""
    smoke_schema: Mapping[str, object] | None = None
    """The JSON Schema of their answers. None: any answer is good."""
    tls: TlsPlan | None = None
    """None: the proxy takes plain HTTP."""

    @property
    def public_port(self) -> int:
        """Return the port of the proxy, which the cloud opens."""
        return next(port for port in PUBLIC_PORTS if port != self.port)

    @property
    def domain(self) -> str:
        """Return the name in the URL; empty: the URL has the address."""
        return "" if self.tls is None else self.tls.domain

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the texts to hide in every output."""
        return () if self.tls is None else (self.tls.key.reveal(),)


@dataclass(frozen=True, kw_only=True)
class SmokeResult:
    """The smoke requests: how many, their status, and the latency of an answer in seconds.

    `tokens_per_second`: of an OpenAI-compatible server; None: it is another one, or it returned no count.
    """

    path: str
    requests: int
    status: int
    is_json: bool
    p50_seconds: float
    p95_seconds: float
    tokens_per_second: float | None = None
    problem: str = ""
    mismatch: str = ""
    """How an answer differs from the schema of the example; empty: each matches, or there is no schema."""


@dataclass(frozen=True, kw_only=True)
class ServiceResult:
    """A service that answered. `url`: of its proxy. `ready_seconds`: from the machine's launch to the first answer.

    `address`: the machine's IPv4 address, where the URL has a name. Its DNS has to lead there.
    """

    url: str
    ready_seconds: float
    address: str = ""
    smoke: SmokeResult | None = None

    @property
    def is_encrypted(self) -> bool:
        return self.url.startswith("https://")


def token_digest(token: str) -> str:
    """Return the digest that the machine compares with. A token of 32 random bytes cannot be found from it."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_token(token: str, digest: str) -> bool:
    return hmac.compare_digest(token_digest(token), digest)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of some values. `share`: 0.5 for the median."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(-(-share * len(ordered) // 1)) - 1))]
