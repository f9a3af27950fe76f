# `make demo` and `make test` do all the set-up: they need Python >= 3.11, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench lock clean

help:  ## Show what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Rowfleet needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## Run the main job on the example sheet
	XDG_STATE_HOME=$(CURDIR)/build/demo $(BIN)/rowfleet local examples/Master_Refunds.xlsx --analyzer rules
	@echo "to look at it again: XDG_STATE_HOME=build/demo $(BIN)/rowfleet batches"

test: $(READY)  ## Run the tests; they start the servers they need
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## Measure; see benchmarks/
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(READY)  ## Renew the lock files from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --group dev -o requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra worker -o requirements-worker.lock pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra submitter -o requirements-submitter.lock pyproject.toml

clean:  ## Remove what was made
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
