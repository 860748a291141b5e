#!/usr/bin/env bash
# Writes constraints-hashes.txt: the versions of constraints.txt with the SHA-256 of every file of
# each. Needs uv. Run it after every change of constraints.txt; a test compares the two.
set -euo pipefail
cd "$(dirname "$0")/.."
{
  cat <<'HEAD'
# Versions and SHA-256 of everything that the tests install; written by  bash tests/lock.sh
# from constraints.txt. torch is left out: which build is right differs from machine to machine
# (the plain CPU build here, CUDA with libraries of its own elsewhere), and so do its hashes.
HEAD
  grep -v -e '^#' -e '^torch==' constraints.txt |
    uv pip compile --quiet --universal --python-version 3.11 --no-deps --only-binary :all: \
      --generate-hashes --no-header --no-annotate -
} > constraints-hashes.part
mv constraints-hashes.part constraints-hashes.txt
