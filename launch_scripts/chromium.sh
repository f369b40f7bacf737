#!/usr/bin/env bash
# Usage: launch_scripts/chromium.sh
# Installs Debian's Chromium where there is none: tests/pipeline/test_report_browser.py looks at reports with it.
set -euo pipefail

if command -v chromium >/dev/null; then
    exit
fi
echo "attribeam: installing chromium from Debian's packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium >/dev/null
