#!/usr/bin/env bash
# The tests with kernels of their own on ipykernel 6.31, where threads and contexts differ. Not in every run.
set -eu
cd "$(dirname "$0")/.."
python3 scripts/environment.py .venv-kernel6 ".[notebook,test]" "ipykernel==6.31.*"
PATH="$PWD/.venv-kernel6/bin:$PATH"
python -c "import ipykernel; print('ipykernel', ipykernel.__version__)"
exec python -m pytest -n 2 --dist worksteal -m slow \
    tests/display tests/magics tests/notebooks tests/widgets "$@"
