#!/usr/bin/env bash
# Installs what the tests need into .venv-test and runs every check: lint, types, layers, tests.
set -euo pipefail
cd "$(dirname "$0")/.."

# Programs of Debian judge what we write: a DICOM validator, DCMTK, an archive, a NIfTI converter and
# a browser. Without them, and without the right to install them, their tests skip and say so; with
# CI=true they fail. A service that may not start, or a package that is not there, stops nothing here.
missing=()
needs() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
needs dciodvfy dicom3tools
needs dcm2niix dcm2niix
needs dcmdump dcmtk
needs Orthanc orthanc
command -v chromium-browser >/dev/null || needs chromium chromium
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  install() { apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
  apt-get update -qq || echo "tests/run.sh: package lists not updated" >&2
  install "${missing[@]}" || for package in "${missing[@]}"; do
    install "$package" || echo "tests/run.sh: could not install $package" >&2
  done
fi

[ -x .venv-test/bin/python ] || python3 -m venv .venv-test
bin=$PWD/.venv-test/bin
# Everything but torch is held to its SHA-256 (tests/lock.sh); of torch find-links may offer the plain CPU
# build, elsewhere it is that of the index.
"$bin/pip" install --quiet --require-hashes --no-deps --only-binary :all: --requirement constraints-hashes.txt
"$bin/pip" install --quiet --constraint constraints.txt torch
"$bin/pip" install --quiet --no-deps --no-build-isolation --editable .
"$bin/pip" check

export PATH=$bin:$PATH OMP_NUM_THREADS=1
ruff check .
ruff format --check .
mypy
lint-imports
python -m pytest --numprocesses 2 "$@"
