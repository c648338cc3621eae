#!/usr/bin/env bash
# The whole gate: style, types, architecture, documentation, tests with coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; "$@"; }

step ruff check .
step ruff format --check .
step mypy
step lint-imports
# Where it cannot be had, its tests are skipped with that reason.
step python scripts/real_comfyui.py build || true
rm -f .coverage .coverage.*
step coverage run -m pytest -n 2 -m "not torture" "$@"
step coverage combine --quiet
step coverage report
step coverage report --fail-under=100 --include="$(paste -sd, scripts/deciders.txt)"
