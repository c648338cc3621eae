#!/usr/bin/env bash
# The whole gate: style, types, architecture, documentation, tests with coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; "$@"; }

step ruff check .
step ruff format --check .
step mypy
step lint-imports
# A thermometer: it shows where to look and never fails the build.
step python scripts/style_measures.py || true
# Where it cannot be had, its tests are skipped with that reason.
step python scripts/real_comfyui.py build || true
step bash scripts/chromium.sh || true
if [ "${QUICK_TESTS:-}" != done ]; then
    rm -f .coverage .coverage.*
    step python -m scripts.quick_tests --coverage
fi
step coverage run -m pytest -n 2 -m "(slow or real_comfyui) and not torture and not truth" "$@"
step coverage combine --quiet
step coverage report
step coverage report --fail-under=100 --include="$(paste -sd, scripts/deciders.txt)"
