"""The inputs of the verb `deploy`, next to those of a run."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from cvl_ci.inputs import parsers
from cvl_ci.inputs.option import ACTION, EVERYWHERE, option
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.lease_name import is_domain
from cvl_ci.model.secret import Secret

MOST_NETWORKS = 20
MOST_REPLICAS = 100
NOT_OF_A_SERVICE = frozenset({
    "down", "keep_on_failure", "idle_minutes_to_autostop", "repeat", "compare", "fail_on_regression", "outputs",
    "max_runtime", "num_nodes", "recover", "task", "cluster_name", "min_gpu_utilization", "time_window", "on_idle",
    "reuse", "idle", "max_age", "if_busy", "reuse_key",
    "checkpoints", "checkpoint_to", "checkpoint_every", "checkpoint_keep", "resume", "detach", "managed", "detach_to",
})  # fmt: skip
"""Inputs of a run that say nothing about a service."""
WORDS_OF_A_SERVICE: Mapping[str, Mapping[str, str]] = {
    "preset": {"example": "serve", "default": "`serve`"},
    "cloud": {"default": "aws"},
    "max_cost": {"default": "no limit except ttl"},
    "ssh_public_key": {"help": "A public key that may log in to the machine of the service."},
}
"""Help and defaults of inputs of a run that differ for a service."""


def read_port(value: object) -> int:
    """Return a port. Raise Wrong for anything else."""
    text = str(value).strip()
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        raise Wrong("is not a port from 1 to 65535")
    return int(text)


def read_path(value: object) -> str:
    """Return the path of a request, such as `/health`. Raise Wrong for anything else."""
    text = str(value).strip()
    if not text.startswith("/") or len(text) > 500 or not all("!" <= letter <= "~" for letter in text):
        raise Wrong("is not the path of a request, such as /health")
    return text


def read_pem(value: object) -> str:
    """Return the text or the file of a certificate or a key, as it is: a message about it could show a secret."""
    return str(value).strip()


def read_domain(value: object) -> str:
    """Return a name of DNS in small letters. Raise Wrong for anything else."""
    text = parsers.text(value).lower()
    if not is_domain(text):
        raise Wrong("is not a name of DNS with a dot and at most 63 letters, such as models.example.com")
    return text


def read_replicas(value: object) -> int:
    """Return a count of machines. Raise Wrong for anything else."""
    text = str(value).strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 0 < int(text) <= MOST_REPLICAS:
        raise Wrong(f"is not a whole number from 1 to {MOST_REPLICAS}")
    return int(text)


def read_networks(value: object) -> tuple[str, ...]:
    """Return IPv4 networks as CIDR; a single address is a network of one. Raise Wrong for anything else."""
    texts = value if isinstance(value, list | tuple) else [value]
    words = [word for text in texts for word in str(text).replace(",", " ").split()]
    networks = []
    for word in words:
        try:
            networks.append(str(ipaddress.IPv4Network(word.strip())))
        except ValueError:
            raise Wrong(
                "is not an IPv4 address or network, such as 203.0.113.7 or 203.0.113.0/24", display=word
            ) from None
    if not networks or len(networks) > MOST_NETWORKS:
        raise Wrong(f"names {len(networks)} networks; give 1 to {MOST_NETWORKS}")
    return tuple(networks)


@dataclass(frozen=True, kw_only=True)
class DeployInputs:
    """The port, the probe, the life, the callers and the certificate of a service. Times in minutes."""

    ttl: float | None = option(
        parsers.minutes,
        help="The life of the service from its first answer. Then its machine ends itself.",
        metavar="TIME",
        example="30m",
        default="4h",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    port: int | None = option(
        read_port,
        help="The server's own port on the machine.",
        metavar="PORT",
        example="8000",
        default="the first of its `service:`, script, variables, sources and Dockerfile, else the server's own",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    ready: str | None = option(
        read_path,
        help="The path that answers with success when the server is ready.",
        metavar="PATH",
        example="/health",
        default="that of its `service:`, of the known server, else `/`",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    ready_timeout: float | None = option(
        parsers.minutes,
        help="The longest time until the server is ready; then its machine is taken down.",
        metavar="TIME",
        example="40m",
        default="initial_delay_seconds of its `service:`, else 20m",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    smoke_schema: str = option(
        parsers.text,
        value="",
        help="A file of the example's folder with a JSON Schema. Each answer to a smoke request must match it, or the "
        "deployment fails and its machine ends.",
        metavar="FILE",
        example="answer.schema.json",
        default="any answer",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    replicas: int | None = option(
        read_replicas,
        help="How many machines serve it. More than 1 needs a team's SkyPilot API server, whose controller starts "
        "them. Without one, cvl-ci shows the price and the task for `sky serve`, and starts nothing.",
        metavar="COUNT",
        example="2",
        default="that of its `service:`, else 1",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    allow: tuple[str, ...] | None = option(
        read_networks,
        help="Only these IPv4 addresses or networks may connect. They need the token too.",
        metavar="NETWORK",
        example="203.0.113.0/24",
        default="any address, with the token",
        is_repeatable=True,
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    tls_cert: str = option(
        read_pem,
        value="",
        help="The certificate of the service with its chain, its own first, as PEM. At a terminal a file, in a "
        "workflow the text itself. The URL then begins with `https://`.",
        metavar="FILE",
        example="fullchain.pem",
        default="plain HTTP",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    tls_key: Secret | None = option(
        lambda value: Secret(read_pem(value)),
        help="The private key of that certificate, as PEM without a passphrase. At a terminal a file, in a workflow "
        "the text itself, from a secret. The machine gets it.",
        metavar="FILE",
        example="privkey.pem",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )
    domain: str = option(
        read_domain,
        value="",
        help="The name in the URL of a service with a certificate, which has to be for that name. Point its DNS at "
        "the address that cvl-ci tells.",
        metavar="NAME",
        example="models.example.com",
        default="the URL has the address",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )


@dataclass(frozen=True, kw_only=True)
class DeployStepInputs:
    """The inputs of a deployment that a workflow alone needs: its environment, and its callers' token."""

    environment: str = option(
        parsers.text,
        value="",
        help="The name of the service's environment. A new service of an environment takes the place of the old one. "
        "For a pull request, cvl-ci makes `pr-NUMBER-NAME` of it.",
        example="staging",
        default="`pr-NUMBER` for a pull request, else the branch",
        entry_points=ACTION,
        verbs=("deploy",),
    )
    deploy_token: Secret | None = option(
        lambda value: Secret(parsers.text(value)),
        help="`verb: deploy`: the token that callers of the service send, from a secret of the repository. It has 24 "
        "to 200 letters, digits and signs.",
        entry_points=ACTION,
        verbs=("deploy",),
    )


DEPLOY_GROUPS = (DeployInputs, DeployStepInputs)
