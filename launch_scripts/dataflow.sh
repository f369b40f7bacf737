#!/usr/bin/env bash
# Usage: launch_scripts/dataflow.sh CONFIG.yaml [options of `attribeam run`] -- --project=P --region=R \
#            --temp_location=gs://BUCKET/temp [--sdk_container_image=IMAGE] [other Beam options]
# Sets up attribeam with Dataflow's client, and launches the job with Google's application default credentials. IMAGE is
# what the Dockerfile builds; without it, workers install TensorFlow and this source when they start.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment dataflow
[[ " $* " == *" -- "* ]] || set -- "$@" --
set -- "$@" --runner=DataflowRunner
if [[ "$*" != *--sdk_container_image* ]]; then
    SCRATCH="$(mktemp -d)"
    trap 'rm -rf -- "$SCRATCH"' EXIT
    python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$SCRATCH" "$REPOSITORY"
    set -- "$@" --extra_package="$(echo "$SCRATCH"/attribeam-*.whl)"
fi
attribeam run "$@"
