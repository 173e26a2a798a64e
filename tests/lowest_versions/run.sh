#!/usr/bin/env bash
# run.sh FOLDER WHEEL: installs the wheel with the lowest versions that pyproject.toml states into an environment
# in FOLDER, and runs the tests that use each of them and take little time.
set -euo pipefail
folder="$1"
python tests/lowest_versions/constraints.py >"$folder/lowest.txt"
python3 -m venv "$folder/lowest-venv"
"$folder/lowest-venv/bin/pip" install -q -c "$folder/lowest.txt" "$2" pytest pytest-benchmark pytest-xdist hypothesis
"$folder/lowest-venv/bin/pytest" -W ignore -p no:cacheprovider tests/settings tests/evaluation tests/prediction \
  tests/data/pack tests/drawing tests/commands/test_{command,help,predict,report}.py
