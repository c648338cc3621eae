#!/usr/bin/env bash
# Installs Debian's Chromium for the browser tests, where root and apt are there. Elsewhere those tests are skipped, with
# that reason.
set -euo pipefail
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "No Chromium: the browser tests are skipped. On Debian: sudo apt install chromium"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium >/dev/null
