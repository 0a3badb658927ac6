#!/usr/bin/env bash
# Linters, types and the tests that start no processes; `--all`: those that start some, too.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
# Each worker would compile all tests anew, for 10 s.
unset PYTHONDONTWRITEBYTECODE
which="not slow"
if [ "${1:-}" = --all ]; then
    which="slow or not slow"
    # Only a run of all the tests proves the page on compatibility.
    export HYPERLLAMA_TEST_COMPATIBILITY="$PWD/build/compatibility/unit.json"
    shift
fi
ruff check .
ruff format --check .
# The types are checked beside the tests, which wait much of their time.
mypy --strict -p hyperllama_nb &
types=$!
python -m pytest -n 4 --dist worksteal -m "$which" tests --ignore=tests/integration --ignore=tests/browser --ignore=tests/clients "$@"
wait "$types"
