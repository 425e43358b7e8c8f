#!/usr/bin/env bash
# Trains on the machine's own python3; what that lacks is installed into a virtual environment beside this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

finds_packages() { "$1" -c 'from importlib.util import find_spec; exit(not (find_spec("numpy")))' 2>/dev/null; }

python=python3
if ! finds_packages "$python"; then
  python=.venv/bin/python
  if ! finds_packages "$python"; then
    echo "python3 has no numpy: installing requirements.txt into .venv"
    python3 -m venv .venv
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
  fi
fi

exec "$python" -u train.py "$@"
