#!/usr/bin/env bash
# Usage: launch_scripts/demo.sh [DIR]
# Sets up attribeam and runs its demo in DIR (default: demo/ in the repository): real digits, a small model, the job
# twice, verification and a picture.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment demo
exec attribeam demo "${1:-$REPOSITORY/demo}"
