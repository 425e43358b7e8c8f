"""Port and probe of a server: each source that names them, in its order, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.service import Probe, ServerKind, percentile
from cvl_ci.planning.service import ServerFiles, find_service

TGI = """
# A WebSocket proxy is not needed: gradio users see the other example.
PORT="${PORT:-8090}"
IMAGE="${IMAGE:-ghcr.io/huggingface/text-generation-inference:latest}"
docker run --rm --gpus all -p "${PORT}:80" "${IMAGE}" --model-id "${MODEL}"
"""
LLAMA = """
HOST_ADDR="${HOST:-0.0.0.0}"
PORT="${PORT:-8081}"
echo "Starting llama-server on ${HOST_ADDR}:${PORT}"
docker run -p "${PORT}:${PORT}" -e PORT="${PORT}" my-llama
"""
GRADIO = """
PORT="${1:-7870}"
docker run -p "$PORT:$PORT" -e GRADIO_SERVER_PORT="$PORT" img python3 app.py
"""
OWN_VARIABLE = """
MASTER_PORT="${MASTER_PORT:-29500}"
TALKER_PORT="${TALKER_PORT:-8998}"
python -m talker --port "${TALKER_PORT}"
"""
CASES: list[tuple[str, ServerFiles, int, str, ServerKind]] = [
    ("TGI, its own port is 80 inside", ServerFiles(script=TGI), 8090, "/health", ServerKind.TGI),
    ("llama.cpp", ServerFiles(script=LLAMA), 8081, "/health", ServerKind.LLAMA_CPP),
    ("Gradio, the first argument", ServerFiles(script=GRADIO), 7870, "/", ServerKind.GRADIO),
    ("the argument that is given", ServerFiles(script=GRADIO, args=("9001",)), 9001, "/", ServerKind.GRADIO),
    (
        "a variable of the preset",
        ServerFiles(script=LLAMA, env={"PORT": "8050"}),
        8050,
        "/health",
        ServerKind.LLAMA_CPP,
    ),
    (
        "a variable of its own name",
        ServerFiles(script=OWN_VARIABLE, about="Launch the WebSocket server"),
        8998,
        "/",
        ServerKind.WEBSOCKET,
    ),
    ("vLLM without a port", ServerFiles(script="vllm serve Qwen/Qwen3-0.6B\n"), 8000, "/v1/models", ServerKind.VLLM),
    ("vLLM with one", ServerFiles(script="vllm serve M --port 8011\n"), 8011, "/v1/models", ServerKind.VLLM),
    ("SGLang", ServerFiles(script="python3 -m sglang.launch_server"), 30000, "/health", ServerKind.SGLANG),
    ("docker -p alone", ServerFiles(script="docker run -p 5005:80 img"), 5005, "/", ServerKind.OTHER),
    (
        "EXPOSE alone",
        ServerFiles(script="./go.sh", dockerfile="FROM x\nEXPOSE 8501/tcp\n"),
        8501,
        "/",
        ServerKind.OTHER,
    ),
    (
        "a Python source",
        ServerFiles(script="python3 app.py", sources=('PORT = int(os.environ.get("PORT", "8123"))',)),
        8123,
        "/",
        ServerKind.OTHER,
    ),
    (
        "argparse",
        ServerFiles(script="python3 app.py", sources=('p.add_argument("--port", type=int, default=8124)',)),
        8124,
        "/",
        ServerKind.OTHER,
    ),
    ("a comment names none", ServerFiles(script="# PORT=1234\nPORT=8125 ./x"), 8125, "/", ServerKind.OTHER),
]


@pytest.mark.parametrize(("files", "port", "path", "kind"), [case[1:] for case in CASES], ids=[one[0] for one in CASES])
def test_port_probe_and_server_are_found(files: ServerFiles, port: int, path: str, kind: ServerKind) -> None:
    service = find_service(files)
    assert (service.port, service.probe.path, service.kind) == (port, path, kind)
    assert service.public_port != service.port


def test_what_a_person_types_comes_first_then_the_service_section() -> None:
    section = {"readiness_probe": {"path": "/live", "initial_delay_seconds": 90, "timeout_seconds": 5}, "ports": 9009}
    files = ServerFiles(script=LLAMA, service=section)
    assert find_service(files).port == 9009
    assert find_service(files).probe == Probe(path="/live", initial_delay_seconds=90, timeout_seconds=5)
    arguments = find_service(files, port=7000, path="/ok")
    assert (arguments.port, arguments.probe.path, arguments.probe.initial_delay_seconds) == (7000, "/ok", 90)
    assert (
        find_service(ServerFiles(script=LLAMA, service={"readiness_probe": "/live", "replicas": 1})).probe.path
        == "/live"
    )


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("/health", "not a mapping"),
        ({"readiness_probe": 7}, "neither a path nor a mapping"),
        ({"readiness_probe": "health"}, "path of a request"),
        ({"readiness_probe": {"path": "/", "post_data": {}}}, "post_data"),
        ({"readiness_probe": {"path": "/", "initial_delay_seconds": -1}}, "seconds"),
        ({"readiness_probe": {"path": "/", "timeout_seconds": True}}, "seconds"),
        ({"ports": "99999"}, "not a port"),
        ({"ports": [8000, 8001]}, "not a port"),
        ({"readiness_probe": "/x\r\nHost: evil"}, "path of a request"),
    ],
)
def test_a_service_section_that_cannot_be_obeyed_is_refused(section: Any, words: str) -> None:
    with pytest.raises(Wrong, match=words):
        find_service(ServerFiles(script=LLAMA, service=section))


def test_a_server_without_any_port_is_refused() -> None:
    with pytest.raises(Wrong, match="names no port"):
        find_service(ServerFiles(script="./start.sh", sources=("print(1)",), dockerfile="FROM x\n"))


def test_a_percentile_is_one_of_the_values() -> None:
    values = [0.1 * number for number in range(1, 21)]
    assert percentile(values, 0.5) == pytest.approx(1.0)
    assert percentile(values, 0.95) == pytest.approx(1.9)
    assert percentile([3.0], 0.95) == 3.0
