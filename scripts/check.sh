#!/usr/bin/env bash
# Linters, types and the tests that need no engine.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
mypy --strict -p hyperllama_nb
exec python -m pytest tests --ignore=tests/integration --ignore=tests/browser "$@"
