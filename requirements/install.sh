#!/bin/sh
# Install one hash-locked list into .venv:  requirements/install.sh base|dev|e2e|prod
# Makes .venv first when there is none. Writes to .venv and to the package cache of pip and uv, nowhere else.
set -eu

list=$1
cd "$(dirname "$0")/.."

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3.14 python3}; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer with venv and ensurepip was found. Debian: apt-get install python3-venv" >&2
    exit 1
}

# uv reads neither pip.conf nor PIP_INDEX_URL: hand it the index this machine's pip is set to, if any.
pip_index() {
    if [ -n "${PIP_INDEX_URL:-}" ]; then
        echo "$PIP_INDEX_URL"
    else
        .venv/bin/python -m pip config get global.index-url 2>/dev/null || true
    fi
}

with_uv() {
    index=$(pip_index)
    if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}" ]; then
        UV_DEFAULT_INDEX=$index
        export UV_DEFAULT_INDEX
    fi
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt &&
        .venv/bin/uv pip install -q --system-certs --require-hashes --python .venv/bin/python -r "requirements/$list.txt"
}

if ! [ -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi

echo "Installing requirements/$list.txt ..."
if ! with_uv; then
    echo "uv did not manage; installing with pip, which takes a minute ..." >&2
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "requirements/$list.txt"
fi
