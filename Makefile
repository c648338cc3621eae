# Everything a fresh machine needs: Python 3.11 (or newer) and git.
PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .tools/bin/uv
BIN := .venv/bin

# Compiled modules are kept: without them each of the tests' many child processes compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run test check truth torture bench docs lock clean where runpod

# One sentence instead of an error deep inside pip or uv.
define REQUIRE_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "comfywatchman needs Python 3.11 or newer, and '$(PYTHON)' is not. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "$(PYTHON) cannot create environments: its venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
endef

$(UV):
	$(REQUIRE_PYTHON)
	@echo "Installing uv $(UV_VERSION) into .tools"
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

# What the program itself needs; the tools of the tests come with `setup`.
.venv/.run-ready: $(UV) requirements/runtime.txt pyproject.toml
	$(REQUIRE_PYTHON)
	@echo "Installing comfywatchman and its packages into .venv"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/runtime.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch .venv/.run-ready

.venv/.ready: .venv/.run-ready requirements/dev.txt
	@echo "Installing the tools of the tests into .venv"
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch .venv/.ready

setup: .venv/.ready

run: .venv/.run-ready
	$(BIN)/comfywatchman --run-cycle

# COVERAGE=1 records coverage for a following `make check QUICK_TESTS=done`, which then runs only the other tests.
test: setup
	$(if $(COVERAGE),rm -f .coverage .coverage.*)
	$(BIN)/python -m scripts.quick_tests $(if $(COVERAGE),--coverage)

check: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" QUICK_TESTS="$(QUICK_TESTS)" bash scripts/check.sh

# Verdicts beside a real ComfyUI; COMFYWATCHMAN_TEST_COMFYUI names another one than that of PyPI.
truth: setup
	$(BIN)/pytest -m truth tests/real_comfyui/test_truth.py -n 0

torture: setup
	$(BIN)/pytest -m torture --timeout 3600

bench: setup
	$(BIN)/python benchmarks/run.py
	$(BIN)/python -m benchmarks.job_intake
	$(BIN)/python -m benchmarks.web_pages
	$(BIN)/python -m benchmarks.jobs --parts race,many,overhead,hot

# The modules where a change starts: make where WORDS="resume a download".
where:
	@$(PYTHON) -m scripts.find_module "$(WORDS)"

docs: setup
	$(BIN)/python -m scripts.docs

# RunPod's package in an environment of its own, and the tests that need it.
runpod: $(UV)
	test -d .tools/runpod || $(UV) venv --quiet --python $(BIN)/python .tools/runpod
	$(UV) pip install --quiet --require-hashes --python .tools/runpod/bin/python -r requirements/runpod.txt
	$(BIN)/pytest -m "" -n 0 tests/cli/handler/test_runpod.py

lock: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra web -o requirements/runtime.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra web --extra gcs -o requirements/image.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra web --extra gcs --extra runpod -o requirements/runpod.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -o requirements/dev.txt

clean:
	rm -rf .venv .tools dist *.egg-info
