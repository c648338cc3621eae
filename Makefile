# Everything a fresh machine needs: Python 3.11 (or newer) and git.
PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .tools/bin/uv
BIN := .venv/bin

# Compiled modules are kept: without them each of the tests' many child processes compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run test check truth torture bench docs lock clean

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

.venv/.ready: $(UV) requirements/dev.txt pyproject.toml
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch .venv/.ready

setup: .venv/.ready

run: setup
	$(BIN)/comfywatchman --run-cycle

# COVERAGE=1 records coverage for a following `make check QUICK_TESTS=done`, which then runs only the other tests.
test: setup
	$(if $(COVERAGE),rm -f .coverage .coverage.*)
	$(BIN)/$(if $(COVERAGE),coverage run -m )pytest -n 2 -m "not slow and not real_comfyui and not torture"

check: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" QUICK_TESTS="$(QUICK_TESTS)" bash scripts/check.sh

# Verdicts beside a real ComfyUI; COMFYWATCHMAN_TEST_COMFYUI names another one than that of PyPI.
truth: setup
	$(BIN)/pytest -m truth tests/real_comfyui/test_truth.py -n 0

torture: setup
	$(BIN)/pytest -m torture --timeout 3600

bench: setup
	$(BIN)/python benchmarks/run.py

docs: setup
	$(BIN)/python -m scripts.docs

lock: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements/runtime.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -o requirements/dev.txt

clean:
	rm -rf .venv .tools dist *.egg-info
