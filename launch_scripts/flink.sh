#!/usr/bin/env bash
# Usage: launch_scripts/flink.sh CONFIG.yaml [options of `attribeam run`] [-- Beam options]
# Sets up attribeam with Flink, and runs a job on a Flink cluster that it starts and stops, or on one that is there
# (--flink-master HOST:PORT). `launch_scripts/flink.sh --help` tells the options, docs/running.md the rest.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment flink
exec python -m pipeline.flink "$@"
