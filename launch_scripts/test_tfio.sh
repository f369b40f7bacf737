#!/usr/bin/env bash
# Usage: launch_scripts/test_tfio.sh [--all | pytest arguments]
# Sets up attribeam[tfio], TensorFlow 2.16 and NumPy 1.26 with tensorflow-io, in an environment of its own (.venv-tfio), and
# runs there the tests of the formats, the engine, a job and the audit; with --all every test but that of Dataflow's request.
set -euo pipefail

# tensorflow-io 0.37 and TensorFlow 2.16 are built for these.
export ATTRIBEAM_PYTHONS="python3.11 python3.10"
ATTRIBEAM_VENV="${ATTRIBEAM_TFIO_VENV:-$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/.venv-tfio}"

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

CONCERNED=(
    tests/transforms/records
    tests/transforms/auditing
    tests/transforms/attribution/test_closed_forms.py
    tests/transforms/attribution/test_explainer.py
    tests/transforms/attribution/model/test_models.py
    tests/pipeline/test_run.py
    tests/pipeline/test_audit.py
    tests/examples/test_dicom_example.py
)

prepare_environment test,tfio
cd -- "$REPOSITORY"
PARALLEL=(--numprocesses auto --dist loadfile)
if [[ $# -eq 0 ]]; then
    exec python -m pytest "${PARALLEL[@]}" "${CONCERNED[@]}"
elif [[ "$1" == --all ]]; then
    exec python -m pytest "${PARALLEL[@]}" --ignore tests/pipeline/test_dataflow.py "${@:2}"
fi
exec python -m pytest "$@"
