#!/usr/bin/env bash
# Usage: launch_scripts/test.sh [pytest arguments]
# Sets up attribeam and runs its tests from the repository's root.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment test,test-dataflow
cd -- "$REPOSITORY"
# Two processes on two cores: the tests trace small programs, which no second core speeds up.
exec python -m pytest --numprocesses auto --dist loadfile "$@"
