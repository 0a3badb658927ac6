# Sourced: gives the engine tests a store, a compile cache, keys and a service of their own.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/.venv/bin:$PATH"
mkdir -p .cache
HYPERLLAMA_RUNTIME_DIR="$(mktemp -d /tmp/hlt.XXXXXX)"
HYPERLLAMA_MODELS="$PWD/.cache/models"
HYPERLLAMA_CACHE="$PWD/.cache/max"
HYPERLLAMA_KEYS="$HYPERLLAMA_RUNTIME_DIR/keys.json"
export HYPERLLAMA_RUNTIME_DIR HYPERLLAMA_MODELS HYPERLLAMA_CACHE HYPERLLAMA_KEYS
finish() {
    hyperllama stop --now >/dev/null 2>&1 || true
    rm -rf "$HYPERLLAMA_RUNTIME_DIR"
}
trap finish EXIT
