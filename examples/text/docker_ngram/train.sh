#!/usr/bin/env bash
set -euo pipefail
SCRIPT_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
REPO_ROOT="$(cd "$SCRIPT_DIR" && git rev-parse --show-toplevel)"
IMG="${CVL_IMAGE:-docker_ngram}"
WORK_DIR="${CVL_WORK_DIR:-$SCRIPT_DIR/outputs}"
if [ "${1:-}" = "--" ]; then shift; fi

mkdir -p "$SCRIPT_DIR/outputs" "$WORK_DIR"
docker run --rm --network none \
  --workdir /workspace \
  --mount "type=bind,src=$SCRIPT_DIR,dst=/workspace" \
  --mount "type=bind,src=$REPO_ROOT,dst=/cvlization_repo,readonly" \
  --mount "type=bind,src=$WORK_DIR,dst=/mnt/cvl/workspace" \
  "$IMG" --into /workspace/outputs "$@"
