# shellcheck shell=bash
# Sourced by the scripts beside it: `prepare_environment EXTRA` makes the virtual environment, installs attribeam[EXTRA]
# into it, editable, and puts it first on PATH. ATTRIBEAM_VENV says where; without it, .venv in the repository.
# ATTRIBEAM_PYTHONS says which interpreters are looked for.

REPOSITORY="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${ATTRIBEAM_VENV:-$REPOSITORY/.venv}"
PYTHONS="${ATTRIBEAM_PYTHONS:-python3 python3.13 python3.12 python3.11 python3.10}"

# The first interpreter that runs and is of a version that setup.py accepts.
find_python() {
    local candidate
    for candidate in $PYTHONS; do
        # Run, not only found: a version manager leaves names on PATH that do not start.
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    echo "attribeam: no Python 3.10 to 3.13 on PATH (looked for $PYTHONS). Install one (python.org, your package manager," >&2
    echo "or pyenv), open a new shell so that its '--version' works, and run this command again." >&2
    return 1
}

make_venv() {
    local python
    python="$(find_python)" || return
    echo "attribeam: making a virtual environment in $VENV ($("$python" --version))"
    "$python" -m venv "$VENV" && return
    rm -rf -- "$VENV/pyvenv.cfg" # half made: the next try starts again
    echo "attribeam: $python could not make it. On Debian and Ubuntu, install python3-venv and run this command again." >&2
    return 1
}

# What an installation depends on: a change of it, and only that, installs again.
fingerprint() {
    cat -- "$REPOSITORY/setup.py" "$REPOSITORY/pyproject.toml" | cksum
    printf '%s\n' "$REPOSITORY"
}

install_extra() {
    local extra="$1" stamp="$VENV/.attribeam-$1"
    if [[ -f "$stamp" && "$(<"$stamp")" == "$(fingerprint)" ]]; then
        return
    fi
    echo "attribeam: installing attribeam[$extra] into $VENV (the first time takes some minutes: TensorFlow is large)"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "${REPOSITORY}[$extra]" || return
    fingerprint >"$stamp"
    echo "attribeam: installed"
}

prepare_environment() {
    if [[ ! -f "$VENV/pyvenv.cfg" ]]; then
        make_venv || return
    fi
    install_extra "$1" || return
    export PATH="$VENV/bin:$PATH"
}
