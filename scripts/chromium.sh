#!/usr/bin/env bash
# Make sure that there is a browser for the browser tests: Debian's Chromium, installed by root only.
set -eu
for name in "${HYPERLLAMA_TEST_CHROMIUM:-chromium}" chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
packages=(chromium fonts-dejavu-core)
install=(apt-get install --yes --no-install-recommends "${packages[@]}")
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The browser tests need Chromium. On Debian and Ubuntu: sudo ${install[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
"${install[@]}" --quiet || { apt-get update --quiet && "${install[@]}" --quiet; }
