#!/usr/bin/env bash
# Usage: launch_scripts/coverage.sh [pytest arguments]
# Branches of transforms/records and transforms/storage that their tests take; fails under 95 % of either.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment test,test-dataflow
cd -- "$REPOSITORY"
REPORT="$(mktemp --directory)"
trap 'rm -rf -- "$REPORT"' EXIT
export COVERAGE_FILE="$REPORT/data"
python -m pytest tests/transforms/records tests/transforms/storage --cov=transforms/records --cov=transforms/storage \
    --cov-branch --cov-report=term-missing:skip-covered --cov-report="json:$REPORT/report.json" "$@"
python - "$REPORT/report.json" <<'PYTHON'
import collections
import json
import sys

WANTED = 95.0
taken, all_branches = collections.Counter(), collections.Counter()
for file, found in json.load(open(sys.argv[1]))["files"].items():
    folder = file.rpartition("/")[0]
    taken[folder] += found["summary"]["covered_branches"]
    all_branches[folder] += found["summary"]["num_branches"]
shares = {folder: 100 * taken[folder] / count for folder, count in all_branches.items() if count}
for folder, share in sorted(shares.items()):
    print(f"{folder}: {taken[folder]} of {all_branches[folder]} branches, {share:.1f} %")
sys.exit(min(shares.values()) < WANTED)
PYTHON
