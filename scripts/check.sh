#!/usr/bin/env bash
# Linters, types and the tests that need no engine.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
mypy --strict -p hyperllama_nb
# Many tests wait rather than compute: more workers than cores.
exec python -m pytest -n 4 tests --ignore=tests/integration --ignore=tests/browser "$@"
