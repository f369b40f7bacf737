#!/usr/bin/env bash
# Usage: eval "$(launch_scripts/flink_for_tests.sh)"
# Flink 1.19 (from PyPI) and Beam's job server for it, put together from its parts (from Maven Central), where Java and
# Maven are there; prints the variables by which tests/pipeline/test_flink.py, tests/campaigns/flink.py and
# benchmarks/flink.py find them. ATTRIBEAM_FLINK_FOLDER says where they are kept.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

FOLDER="${ATTRIBEAM_FLINK_FOLDER:-$HOME/.cache/attribeam/flink-for-tests}"
POM="$REPOSITORY/launch_scripts/flink_for_tests/pom.xml"
MAIN=org.apache.beam.runners.flink.FlinkJobServerDriver

# Beam's SDK runs the server as one jar: this one holds nothing but where its parts are.
assemble() {
    mvn --batch-mode --quiet --file "$POM" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$FOLDER/parts" >&2
    {
        printf 'Main-Class: %s\nClass-Path: \n' "$MAIN"
        # a line that begins with a space goes on the one before
        (cd -- "$FOLDER" && printf '  %s\n' parts/*.jar)
    } >"$FOLDER/manifest"
    jar --create --file "$FOLDER/job-server.jar" --manifest "$FOLDER/manifest"
}

if [[ ! -f "$FOLDER/job-server.jar" ]]; then
    echo "attribeam: getting Flink and Beam's job server for it into $FOLDER" >&2
    rm -rf -- "$FOLDER"
    mkdir -p -- "$FOLDER"
    "$(find_python)" -m pip install --quiet --disable-pip-version-check --no-deps --target "$FOLDER/packages" \
        'apache-flink-libraries==1.19.3' >&2
    assemble
fi
printf 'export FLINK_HOME=%q ATTRIBEAM_FLINK_JOB_SERVER=%q\n' "$FOLDER/packages/pyflink" "$FOLDER/job-server.jar"
