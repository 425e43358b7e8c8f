#!/usr/bin/env bash
# A job that takes its time: slow.sh [SECONDS]. One line a second, and a file that grows with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:-600}
mkdir -p outputs
for ((second = 1; second <= seconds; second++)); do
  echo "second $second of $seconds" | tee -a outputs/progress.txt
  sleep 1
done
