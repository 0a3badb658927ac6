#!/usr/bin/env bash
# The notebooks and the tests that need a real engine or JupyterLab, apart from the user's service.
set -eu
. "$(dirname "$0")/place.sh"
python scripts/notebooks.py
hyperllama stop --now >/dev/null

export HYPERLLAMA_TEST_MODELS="$HYPERLLAMA_MODELS"
export HYPERLLAMA_TEST_CLIENTS_PYTHON="$PWD/.venv-clients/bin/python"
export HYPERLLAMA_TEST_COMPATIBILITY="$PWD/build/compatibility/integration.json"
export HYPERLLAMA_TEST_CLIENT_RESULTS="$PWD/build/compatibility/clients.json"
export HYPERLLAMA_TEST_NODE_MODULES="$PWD/.cache/npm/node_modules"
python -m pytest tests/integration tests/browser "$@"
python scripts/compatibility.py --check
