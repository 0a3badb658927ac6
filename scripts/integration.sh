#!/usr/bin/env bash
# The notebooks and the tests that need a real engine, apart from the user's service and store.
set -eu
. "$(dirname "$0")/place.sh"
python scripts/notebooks.py
hyperllama stop --now >/dev/null

export HYPERLLAMA_TEST_MODELS="$HYPERLLAMA_MODELS"
export HYPERLLAMA_TEST_CLIENTS_PYTHON="$PWD/.venv-clients/bin/python"
python -m pytest tests/integration "$@"
