#!/usr/bin/env bash
# A job that fails on purpose, with an exit code of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

mkdir -p outputs
echo "This job is about to fail on purpose."
echo "written before the failure" > outputs/before_the_failure.txt
echo "the reason goes to standard error" >&2
exit 7
