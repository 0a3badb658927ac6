#!/usr/bin/env bash
# The notebooks and the tests that need a real engine, apart from the user's service and store.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
cache="$PWD/.cache"
mkdir -p "$cache"
runtime="$(mktemp -d /tmp/hlt.XXXXXX)"
chmod 700 "$runtime"
export HYPERLLAMA_RUNTIME_DIR="$runtime" HYPERLLAMA_MODELS="$cache/models" HYPERLLAMA_CACHE="$cache/max"
finish() {
    hyperllama stop --now >/dev/null 2>&1 || true
    rm -rf "$runtime"
}
trap finish EXIT

hyperllama pull smollm2:135m
python scripts/notebooks.py
hyperllama stop --now >/dev/null

export HYPERLLAMA_TEST_MODELS="$cache/models"
export HYPERLLAMA_TEST_CLIENTS_PYTHON="$PWD/.venv-clients/bin/python"
python -m pytest tests/integration "$@"
