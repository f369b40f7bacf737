#!/usr/bin/env bash
# Usage: launch_scripts/site.sh [DIR]
# Sets up mkdocs, and builds the documentation as a site into DIR (build/site); a link that leads nowhere is an error.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment docs
cd -- "$REPOSITORY"
# As the files lie in the repository, so that their links hold there and here.
rm -rf build/pages
mkdir -p build/pages
find ./*.md docs examples benchmarks -regex '.*\.\(md\|png\|yaml\|ipynb\)' -not -path '*/results/*' \
    -exec cp --parents -t build/pages {} +
exec mkdocs build --quiet --strict --site-dir "${1:-build/site}"
