"""A small field of examples of our own, one in each dialect that the real field is written in."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

BUILD = '#!/usr/bin/env bash\nset -e\ndocker build -t "${CVL_IMAGE:-%s}" "$(dirname "$0")"\n'
TRAIN = '#!/usr/bin/env bash\ndocker run --rm --gpus all "${CVL_IMAGE:-other}" python train.py "$@"\n'
PLAIN = '#!/usr/bin/env bash\necho plain "$@"\n'

FIELD: Mapping[str, str] = {
    "pyproject.toml": "[project]\nname = 'field'\n",
    "cvlization/__init__.py": "",
    "cvlization/data/tiny.py": "X = 1\n",
    "README.md": "The field.\n",
    ".gitignore": "data/*\n",
    # The usual form: presets as mappings, arguments after `--`, as text, as a list, environment as a mapping.
    "examples/vision/usual/example.yaml": """
name: usual-example
image: usual
resources: {gpu: 1, vram_gb: 12, disk_gb: 15}
verification: {last_verified: 2026-05-21}
presets:
  build: {script: build.sh, description: Build}
  train: {script: train.sh}
  train-small: {script: train.sh -- --stage one}
  train_text: {script: train.sh, args: --epochs 3 --note "two words"}
  train_list: {script: train.sh, args: [--epochs, 3]}
  train_env: {script: train.sh, env: {PIPELINE: hlb, FAST: true}}
  bare_args: {script: train.sh --stage two}
  serve: {script: PORT=8050 serve.sh}
  batch: {script: batch.py}
  broken: {script: gone.sh}
  silent: {description: neither script nor command}
  web: {script: train.sh, description: Launch the web demo server}
""",
    "examples/vision/usual/build.sh": BUILD % "usual_img",
    "examples/vision/usual/train.sh": TRAIN,
    "examples/vision/usual/serve.sh": TRAIN,
    "examples/vision/usual/batch.py": "import torch\n",
    "examples/vision/usual/data/needed.csv": "a,b\n1,2\n",
    # A list of preset names; nothing said of a GPU's memory; flash attention in a source.
    "examples/text/listed/example.yaml": "name: listed\nresources: {gpu: 1, vram_gb: 8}\npresets: [build, predict]\n",
    "examples/text/listed/build.sh": BUILD % "listed",
    "examples/text/listed/predict.sh": TRAIN,
    "examples/text/listed/predict.py": "model = load(attn_implementation='flash_attention_2')\n",
    # Values that are lists; the GPU as a mapping.
    "examples/text/list_values/example.yaml": """
name: list-values
resources: {gpu: {count: 2, vram_gb: 80}, cpu_cores: 8, ram_gb: 16, disk_gb: 50}
presets:
  build: [build.sh]
  predict: [predict.sh]
""",
    "examples/text/list_values/build.sh": BUILD % "list_values",
    "examples/text/list_values/predict.sh": TRAIN,
    # No presets at all; hardware instead of resources; docker as text.
    "examples/audio/undeclared/example.yaml": """
name: undeclared
docker: undeclared-inference:latest
hardware: {gpu_required: true, min_vram_gb: 20, min_ram_gb: 32}
""",
    "examples/audio/undeclared/run.sh": "#!/bin/bash\ndocker run --rm -it undeclared-inference:latest python x.py\n",
    # Commands only; docker as a mapping; GPU `required`.
    "examples/physical/commands/example.yaml": """
name: commands
docker: {image: commands-img, gpu: required, vram_gb: 24}
resources: null
presets:
  build: {command: ./build.sh}
  predict: {command: python predict.py --fast}
  both: {script: both.sh, command: python3 predict.py}
""",
    "examples/physical/commands/build.sh": "docker build --tag=commands-built .\n",
    "examples/physical/commands/both.sh": TRAIN,
    "examples/physical/commands/predict.py": "print('hello')\n",
    # Files to be fetched before the image is built.
    "examples/audio/fetching/example.yaml": """
name: fetching
resources:
  gpu: 0
  downloads:
    - {url: hf://owner/repo/sub/model.bin, dest: models/m/model.bin}
    - {url: "https://example.com/a b.zip", dest: a.zip, requires_auth: false}
    - {url: gdrive://abc-DEF_1, dest: data/x.pth}
presets: {build: build.sh, predict: predict.sh, lost: {script: lost.sh}}
""",
    "examples/audio/fetching/build.sh": BUILD % "fetching",
    "examples/audio/fetching/predict.sh": TRAIN,
    # Its build cannot be run.
    "examples/audio/unbuilt/example.yaml": "name: unbuilt\npresets: {build: made.sh, train: train.sh}\n",
    "examples/audio/unbuilt/train.sh": TRAIN,
    # Runs on the machine itself.
    "benchmarks/plain/example.yaml": """
name: plain
resources: {gpu: 0, vram_gb: 0, disk_gb: 2}
presets:
  train: {script: train.sh, docker: false}
""",
    "benchmarks/plain/train.sh": PLAIN,
    # Two directories of one name.
    "examples/a/torch/example.yaml": "name: first-torch\npresets: {train: {script: train.sh}}\n",
    "examples/a/torch/train.sh": PLAIN,
    "examples/b/torch/example.yaml": "name: second-torch\nresources: {gpu_count: 1}\npresets: {train: train.sh}\n",
    "examples/b/torch/train.sh": PLAIN,
}


def plant(root: Path, files: Mapping[str, str] = FIELD, *, git: bool = True) -> Path:
    is_new = not root.exists()
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"), encoding="utf-8")
    if git and is_new:
        shutil.copytree(_repository(tuple(files.items())), root / ".git")
    elif git:
        _commit(root)
    return root


@functools.cache
def _repository(files: tuple[tuple[str, str], ...]) -> Path:
    """Return the .git of a repository with these files in its one commit. Git makes it once in each process."""
    folder = Path(tempfile.mkdtemp(prefix="cvl-field-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = plant(folder, dict(files))
    return root / ".git"


def _commit(root: Path) -> None:
    run_git(root, "init", "-q")
    run_git(root, "add", "-Af")
    run_git(root, "commit", "-qm", "plant")


def run_git(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *identity, *words], check=True, capture_output=True)
