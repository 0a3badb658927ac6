#!/usr/bin/env bash
# Everything. What the integration tests need is made while the unit tests run.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/logs
log=build/logs/prepare.log
echo "Preparing the engine tests beside the unit tests; output in $log"
scripts/prepare.sh >"$log" 2>&1 &
preparing=$!
trap 'kill "$preparing" 2>/dev/null || true' EXIT
scripts/check.sh --all
if ! wait "$preparing"; then
    tail -n 25 "$log"
    exit 1
fi
trap - EXIT
exec scripts/integration.sh "$@"
