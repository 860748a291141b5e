#!/usr/bin/env bash
# Installs what the tests need into .venv-test and runs every check: lint, types, layers, tests.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's DICOM validator and NIfTI converter judge what we write. Elsewhere those tests skip and say so.
missing=()
command -v dciodvfy >/dev/null || missing+=(dicom3tools)
command -v dcm2niix >/dev/null || missing+=(dcm2niix)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

[ -x .venv-test/bin/python ] || python3 -m venv .venv-test
bin=$PWD/.venv-test/bin
"$bin/pip" install --quiet --constraint constraints.txt torch  # the plain CPU build, before anything asks for another
"$bin/pip" install --quiet --constraint constraints.txt --editable '.[all]'

export PATH=$bin:$PATH OMP_NUM_THREADS=1
ruff check .
ruff format --check .
mypy
lint-imports
python -m pytest --numprocesses 2 "$@"
