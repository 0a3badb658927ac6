#!/usr/bin/env bash
# Linters, types and the tests that need no engine.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
# The types are checked beside the tests, which wait much of their time.
mypy --strict -p hyperllama_nb &
types=$!
export HYPERLLAMA_TEST_COMPATIBILITY="$PWD/build/compatibility/unit.json"
python -m pytest -n 4 --dist worksteal tests --ignore=tests/integration --ignore=tests/clients "$@"
wait "$types"
