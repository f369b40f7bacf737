#!/usr/bin/env bash
# Usage: launch_scripts/worker_image/lock.sh
# Writes requirements.txt beside it: every package of the worker image, with version and hashes, for Python 3.11 on
# x86-64 Linux, out of setup.py. It keeps the versions that the file has; delete the file to get the newest.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
command -v uv >/dev/null || { echo "attribeam: no uv on PATH; pip install uv" >&2; exit 1; }
export UV_CUSTOM_COMPILE_COMMAND="launch_scripts/worker_image/lock.sh"
exec uv pip compile setup.py --extra worker --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --generate-hashes --no-emit-index-url --no-annotate --quiet --output-file launch_scripts/worker_image/requirements.txt
