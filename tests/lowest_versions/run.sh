#!/usr/bin/env bash
# run.sh FOLDER CONSTRAINTS WHEEL: installs the wheel with the lowest versions that pyproject.toml states, which
# constraints.py wrote, into an environment in FOLDER, and runs the tests that use each of them and take little time.
set -euo pipefail
folder="$(realpath "$1")"
python3 -m venv "$folder/lowest-venv"
TMPDIR="$folder" "$folder/lowest-venv/bin/pip" install -q -c "$2" "$3" pytest pytest-benchmark pytest-xdist hypothesis
"$folder/lowest-venv/bin/pytest" -W ignore -p no:cacheprovider tests/settings tests/evaluation tests/prediction \
  tests/data/pack tests/drawing tests/commands/test_{command,help,predict,report}.py
