"""Find the port and the probe of an example's server: in its files, or by the server that it starts. Pure.

The first source that names a fact decides: the user's inputs, the task's `service:`, and last the server's own
documentation. Between them, for a port: the variables of the script that the preset runs, other variables, the rest of
the script, Python sources, and EXPOSE of the Dockerfile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cvl_ci.inputs.deploy_inputs import read_path, read_port
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.service import PROBE_SECONDS, READY_SECONDS, Probe, ServerKind, ServicePlan
from cvl_ci.planning import replicas

SERVE = "serve"
"""The preset that a deployment starts, if the user names none."""


@dataclass(frozen=True, kw_only=True)
class KnownServer:
    """A well-known server: how a script names it, its documented default port and its probe's path."""

    kind: ServerKind
    names: re.Pattern[str]
    port: int
    path: str


KNOWN = (
    # docs.vllm.ai, "OpenAI-Compatible Server": port 8000; /health answers 200 when the engine is up.
    KnownServer(
        kind=ServerKind.VLLM,
        names=re.compile(r"\bvllm\s+serve\b|vllm\.entrypoints|vllm/vllm-openai|\bvllm\b", re.IGNORECASE),
        port=8000,
        path="/v1/models",
    ),
    # docs.sglang.ai, "Server Arguments": port 30000; "/health".
    KnownServer(
        kind=ServerKind.SGLANG,
        names=re.compile(r"\bsglang\b|lmsysorg/sglang", re.IGNORECASE),
        port=30000,
        path="/health",
    ),
    # huggingface.co/docs/text-generation-inference, "Quick Tour": `-p 8080:80`; "/health".
    KnownServer(
        kind=ServerKind.TGI,
        names=re.compile(r"text-generation-(?:inference|launcher)", re.IGNORECASE),
        port=8080,
        path="/health",
    ),
    # github.com/ggml-org/llama.cpp, tools/server/README.md: port 8080; "/health" is 503 while the model loads.
    KnownServer(
        kind=ServerKind.LLAMA_CPP,
        names=re.compile(r"\bllama-server\b|ggml-org/llama\.cpp|llama_cpp\.server", re.IGNORECASE),
        port=8080,
        path="/health",
    ),
    # gradio.app/guides/environment-variables: GRADIO_SERVER_PORT, 7860.
    KnownServer(
        kind=ServerKind.GRADIO, names=re.compile(r"\bgradio\b|GRADIO_SERVER", re.IGNORECASE), port=7860, path="/"
    ),
    KnownServer(kind=ServerKind.WEBSOCKET, names=re.compile(r"\bwebsockets?\b", re.IGNORECASE), port=0, path="/"),
)

_EXPOSE = re.compile(r"^\s*EXPOSE\s+(\d{1,5})(?:/tcp)?\b", re.IGNORECASE | re.MULTILINE)
_ASSIGNED = re.compile(
    r"^\s*(?:export\s+|readonly\s+|local\s+|declare\s+)*(?P<name>(?:[A-Z0-9]+_)*PORT)="
    r"[\"']?\$\{(?P<variable>\w+):?-(?P<default>\d{2,5})\}",
    re.MULTILINE,
)
_PLAIN = re.compile(r"^\s*(?:export\s+)*(?P<name>(?:[A-Z0-9]+_)*PORT)=[\"']?(?P<port>\d{2,5})\b", re.MULTILINE)
_FLAG = re.compile(r"--(?:server[-_])?port[ =][\"']?(?:\$\{\w+:?-)?(\d{2,5})\b")
_PUBLISHED = re.compile(r"(?:^|\s)(?:-p|--publish)[ =][\"']?(?:[\d.]+:)?(?:\$\{\w+:?-)?(\d{2,5})\}?:")
_IN_PYTHON = re.compile(
    r"--port\b[^\n]{0,80}default=(\d{2,5})\b|\bport=(\d{2,5})\b|[\"'](?:[A-Z0-9]+_)*PORT[\"'],\s*[\"']?(\d{2,5})\b"
)
"""argparse's `--port` with a default, a keyword `port=`, and `environ.get("PORT", "8000")`."""
_NOT_A_SERVER = {"MASTER_PORT", "SSH_PORT", "REDIS_PORT", "DB_PORT", "POSTGRES_PORT"}
_COMMENT = re.compile(r"(?m)^\s*#.*$")


@dataclass(frozen=True, kw_only=True)
class ServerFiles:
    """The facts of an example from which its service follows.

    `script`: the text of the script or command that serves. `args`: its words. `sources`: further files by path.
    """

    script: str
    args: Sequence[str] = ()
    dockerfile: str = ""
    env: Mapping[str, str] | None = None
    about: str = ""
    sources: Sequence[str] = ()
    service: object = None
    """`service:` of the task or of the example.yaml."""


def find_service(
    files: ServerFiles, *, port: int | None = None, path: str | None = None, requested_replicas: int | None = None
) -> ServicePlan:
    """Return the service. Raise Wrong when no source names the port.

    `port`, `path`, `requested_replicas`: the user's inputs.
    """
    declared = _Declared.of(files.service)
    server = _server(files)
    chosen, source = _port(files, server, port=port, declared=declared)
    probe = declared.probe or Probe(path=server.path if server else "/")
    origin = (
        "its `service:`"
        if declared.probe
        else (f"{server.kind.value}'s documentation" if server and server.port else "the default")
    )
    if path:
        probe, origin = replace(probe, path=path), "the input ready"
    kind = server.kind if server else ServerKind.OTHER
    sources = (f"port {chosen} from {source}", f"probe {probe.path} from {origin}")
    replica_plan = replicas.read(files.service, requested=requested_replicas)
    balancing = replicas.balancing(files.service) if isinstance(files.service, Mapping) else {}
    return ServicePlan(port=chosen, probe=probe, kind=kind, sources=sources, replicas=replica_plan, balancing=balancing)


def _port(files: ServerFiles, server: KnownServer | None, *, port: int | None, declared: _Declared) -> tuple[int, str]:
    if port is not None:
        return port, "the input port"
    if declared.port is not None:
        return declared.port, "its `service:`"
    env, text = dict(files.env or {}), _COMMENT.sub("", files.script)
    candidates = _script_ports(text, env, files.args)
    in_sources = (match for source in files.sources for match in _IN_PYTHON.finditer(source))
    candidates += [("its sources", int(match[1] or match[2] or match[3])) for match in in_sources]
    candidates += [("EXPOSE of its Dockerfile", int(match[1])) for match in _EXPOSE.finditer(files.dockerfile)]
    for source, number in candidates:
        if 0 < number < 65536:
            return number, source
    if server is not None and server.port:
        return server.port, f"{server.kind.value}'s documentation"
    raise Wrong("names no port: neither its script, its `service:`, its environment nor EXPOSE does; give port")


def _script_ports(text: str, env: Mapping[str, str], args: Sequence[str]) -> list[tuple[str, int]]:
    ports: list[tuple[str, int]] = []
    for match in _ASSIGNED.finditer(text):
        if match["name"] in _NOT_A_SERVER:
            continue
        variable, default = match["variable"], int(match["default"])
        if variable.isdecimal():  # `PORT="${1:-7869}"`: the script's own argument
            at = int(variable) - 1
            value = args[at] if 0 <= at < len(args) else ""
        else:
            value = env.get(variable, "")
        is_given = value.isascii() and value.isdecimal()
        ports.append((f"the variable {variable}" if is_given else "its script", int(value) if is_given else default))
    for name, value in env.items():
        if (
            name not in _NOT_A_SERVER
            and re.fullmatch(r"(?:[A-Z0-9]+_)*PORT", name)
            and value.isascii()
            and value.isdecimal()
        ):
            ports.append((f"the variable {name}", int(value)))
    line = " ".join([text, *args])
    ports += [("its script", int(match[1])) for pattern in (_FLAG, _PUBLISHED) for match in pattern.finditer(line)]
    plain = (match for match in _PLAIN.finditer(text) if match["name"] not in _NOT_A_SERVER)
    return ports + [("its script", int(match["port"])) for match in plain]


def _server(files: ServerFiles) -> KnownServer | None:
    """Return the server in the script; else in its description, then in other sources."""
    for text in (_COMMENT.sub("", files.script), files.about, files.dockerfile, *files.sources):
        for server in KNOWN:
            if server.names.search(text):
                return server
    return None


@dataclass(frozen=True, kw_only=True)
class _Declared:
    """A `service:` section, in SkyPilot's words (sky/utils/schemas.py, get_service_schema)."""

    port: int | None = None
    probe: Probe | None = None

    @classmethod
    def of(cls, value: object) -> _Declared:
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            raise Wrong(f"has a `service:` that is not a mapping: {str(value)[:60]!r}")
        port = value.get("ports", value.get("port"))
        if isinstance(port, list):
            port = port[0] if len(port) == 1 else str(port)
        return cls(port=None if port is None else read_port(port), probe=_probe(value.get("readiness_probe")))


def _probe(value: object) -> Probe | None:
    if value is None:
        return None
    if isinstance(value, str):
        return Probe(path=read_path(value))
    if not isinstance(value, Mapping):
        raise Wrong("has a readiness_probe that is neither a path nor a mapping")
    unknown = sorted(set(map(str, value)) - {"path", "initial_delay_seconds", "timeout_seconds"})
    if unknown:
        raise Wrong(f"has {', '.join(unknown)} in its readiness_probe, which deploy does not send; give path alone")
    return Probe(
        path=read_path(value.get("path", "/")),
        initial_delay_seconds=_seconds(value.get("initial_delay_seconds"), READY_SECONDS, most=24 * 3600),
        timeout_seconds=_seconds(value.get("timeout_seconds"), PROBE_SECONDS, most=600),
    )


def _seconds(value: object, default: float, *, most: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise Wrong(f"has {value!r} where a readiness_probe has seconds, from 1 to {most:.0f}")
    return float(value)
