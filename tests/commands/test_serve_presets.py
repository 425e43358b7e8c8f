"""Six examples with a server, in the shapes that people write: port, probe and GPU of each plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.cli.main import main
from tests.support.field import plant

CACHE = '-v "${HOME}/.cache/huggingface:/root/.cache/huggingface"'
DOCKER = "#!/usr/bin/env bash\nset -euo pipefail\n"
SERVERS = {
    "vllm": (
        24,
        DOCKER + 'PORT="${PORT:-8000}"\nMODEL="${MODEL:-Qwen/Qwen3-VL-8B}"\n'
        f'docker run --rm --gpus all -p "${{PORT}}:8000" {CACHE} vllm/vllm-openai:latest --model "${{MODEL}}"\n',
    ),
    "sglang": (
        40,
        DOCKER + 'PORT="${PORT:-30000}"\nHOST_ADDR="${HOST:-0.0.0.0}"\n'
        'docker run --rm --gpus all --ipc=host -p "${PORT}:${PORT}" -e PORT="${PORT}" "${CVL_IMAGE}" \\\n'
        '  python3 -m sglang.launch_server --host "${HOST_ADDR}" --port "${PORT}"\n',
    ),
    "tgi": (
        16,
        DOCKER + 'PORT="${PORT:-8080}"\nTGI_IMAGE="ghcr.io/huggingface/text-generation-inference:3"\n'
        'docker run --rm --gpus all -p "${PORT}:80" "${TGI_IMAGE}" --model-id some/model\n',
    ),
    "llama": (
        8,
        DOCKER + 'PORT="${PORT:-8081}"\necho "Starting llama-server on ${PORT}"\n'
        'docker run --rm --gpus all -p "${PORT}:${PORT}" -e PORT="${PORT}" ghcr.io/ggml-org/llama.cpp:server-cuda\n',
    ),
    "talker": (
        20,
        DOCKER + 'TALKER_PORT="${TALKER_PORT:-8998}"\n'
        'docker run --rm --gpus=all -p "${TALKER_PORT}:8998" "${CVL_IMAGE}" python -m talker.server\n',
    ),
    "layers": (
        16,
        DOCKER + 'PORT="${1:-7869}"\necho "Starting the Gradio app on ${PORT}"\n'
        'docker run --rm --gpus=all -p "$PORT:$PORT" -e GRADIO_SERVER_PORT="$PORT" layers python3 app.py\n',
    ),
}
PLANS = [
    ("vllm", "vLLM on port 8000", "port 8080 is open", "probe /v1/models", "L4:1"),
    ("sglang", "SGLang on port 30000", "port 8080 is open", "probe /health", "A100:1"),
    ("tgi", "TGI on port 8080", "port 8081 is open", "probe /health", "L4:1"),
    ("llama", "llama.cpp on port 8081", "port 8080 is open", "probe /health", "T4:1"),
    ("talker", "WebSocket on port 8050", "port 8080 is open", "probe / ", "L4:1"),
    ("layers", "Gradio on port 7870", "port 8080 is open", "probe / ", "L4:1"),
]
SCRIPTS = {"talker": "TALKER_PORT=8050 serve.sh", "layers": "serve.sh 7870"}
"""The talker has its port inline, and the layers as an argument."""


def files() -> dict[str, str]:
    planted: dict[str, str] = {}
    for name, (vram, script) in SERVERS.items():
        folder = f"examples/serving/{name}"
        about = "Launch the WebSocket server" if name == "talker" else "Launch the server"
        planted |= {
            f"{folder}/example.yaml": f"name: {name}\nimage: cvl-{name}\nresources: {{gpu: 1, vram_gb: {vram}}}\n"
            f"presets:\n  build: {{script: build.sh}}\n"
            f"  serve: {{script: {SCRIPTS.get(name, 'serve.sh')}, description: {about}}}\n",
            f"{folder}/build.sh": DOCKER + 'docker build -t "${CVL_IMAGE}" "$(dirname "$0")"\n',
            f"{folder}/serve.sh": script,
            f"{folder}/Dockerfile": "FROM scratch\n",
        }
    return planted


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = plant(tmp_path / "repository", files())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "CVL_CI_DEPLOY_TOKEN", "SKYPILOT_API_SERVER_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.parametrize("plan", PLANS, ids=[plan[0] for plan in PLANS])
def test_a_serve_preset_plans_its_port_probe_and_gpu(capsys: pytest.CaptureFixture[str], plan: tuple[str, ...]) -> None:
    name, *facts, gpu = plan
    assert main(["deploy", name, "--cloud", "aws", "--dry-run"]) == 0
    text = capsys.readouterr().out
    for words in facts:
        assert words in text, text
    [needs] = [line for line in text.splitlines() if line.lstrip().startswith("needs ")]
    assert needs.split(None, 1)[1].startswith(gpu), needs
    assert "setup    bash build.sh" in text and "Nothing was started." in text
