# Everything runs in the project's own virtual environment; the first target that needs it makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-all soak lint schemas bench clean

quickstart: $(VENV)/run.stamp
	@$(BIN)/metalake-sync apply examples/quickstart/manifest.yaml
	@echo
	@echo "Look at the result:  $(BIN)/metalake-sync status examples/quickstart/manifest.yaml"
	@echo "Run it again:        make quickstart    (nothing is to be done, nothing is sent)"

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long"

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The long form of the fault tests: hundreds of kills.
soak: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/faults -n 0 -s -m long

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.run

schemas: $(VENV)/dev.stamp
	$(BIN)/python -m metalake_sync.cli.schemas schemas

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "metalake-sync needs Python 3.11 or later; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp

clean:
	rm -rf $(VENV) .venv-vendor .azurite build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
