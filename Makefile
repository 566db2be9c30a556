# Everything runs in the project's own virtual environment; the first target that needs it makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-all test-lowest soak sequences lint schemas bench audit sbom docs docs-serve clean

quickstart: $(VENV)/run.stamp
	@$(BIN)/metalake-sync apply examples/quickstart/manifest.yaml
	@echo
	@echo "Look at the result:  $(BIN)/metalake-sync status examples/quickstart/manifest.yaml"
	@echo "Run it again:        make quickstart    (finds nothing to do, and sends nothing)"

test: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not long"

test-all: lint
	REAL_STARTS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The tests with the lowest versions that pyproject.toml allows of what users install.
test-lowest:
	rm -rf $(VENV)-lowest && $(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-lowest/bin/uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct '.[all]'
	$(VENV)-lowest/bin/uv pip install --quiet --python $(VENV)-lowest --editable '.[dev]'
	$(VENV)-lowest/bin/python -m pytest -n 3 --dist loadfile -m "not long"

# The long form of the fault tests: hundreds of kills.
soak: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/faults -n 0 -s -m long

# The long form of the model-based test: 2,000 random sequences.
sequences: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/end_to_end/test_against_model.py -n 2 -m long -rP

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.run

# Known vulnerabilities of what is installed; says so where no database can be reached.
audit: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/security/test_supply_chain.py -n 0 -rs

# What a user installs, with all extras, as CycloneDX: sbom.cdx.json.
sbom: | $(BIN)/python
	rm -rf $(VENV)-sbom && $(PYTHON) -m venv $(VENV)-sbom
	$(VENV)-sbom/bin/python -m pip install --quiet --disable-pip-version-check '.[all]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7'
	$(BIN)/cyclonedx-py environment --of JSON -o sbom.cdx.json $(VENV)-sbom
	rm -rf $(VENV)-sbom

# The documentation site, in build/site.
docs: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

schemas: $(VENV)/dev.stamp
	$(BIN)/python -m metalake_sync.documents.schemas schemas

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
	rm -rf $(VENV) .venv-vendor .venv-vendor-3 .venv-awscli .venv-bench .venv-lowest .venv-dagster .venv-apache-airflow .azurite build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
