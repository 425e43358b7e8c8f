#!/usr/bin/env bash
set -euo pipefail
SCRIPT_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
IMG="${CVL_IMAGE:-docker_ngram}"
WORK_DIR="${CVL_WORK_DIR:-$SCRIPT_DIR/outputs}"
if [ "${1:-}" = "--" ]; then shift; fi

mkdir -p "$WORK_DIR"
docker run --rm --network none \
  --mount "type=bind,src=$SCRIPT_DIR,dst=/workspace,readonly" \
  --mount "type=bind,src=$WORK_DIR,dst=/mnt/cvl/workspace" \
  "$IMG" --into /mnt/cvl/workspace --sample-chars 3000 "$@"
