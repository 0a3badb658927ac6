#!/usr/bin/env bash
# Fill what the engine and browser tests share: other clients, a browser, the store, the compile cache.
set -eu
. "$(dirname "$0")/place.sh"
(
    scripts/clients.sh
    npm install --silent --no-audit --no-fund --prefix .cache/npm ollama axe-core
    scripts/chromium.sh
) &
clients=$!
for model in smollm2:135m all-minilm; do
    hyperllama pull "$model"
    hyperllama load "$model"
done
wait "$clients"
