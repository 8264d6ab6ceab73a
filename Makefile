# Two commands matter: `make demo` and `make test`. Each makes what it needs.
SHELL := /bin/sh
BIN := .venv/bin

# With CAUSEWAY_HOME the tests' scratch files go there too, in a folder of their own.
ifdef CAUSEWAY_HOME
SCRATCH := --basetemp="$(CAUSEWAY_HOME)/tests"
endif

# Two processes, each with its engines started once: tests/conftest.py shares the tests out.
IN_TWO := -n 2 --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test test-long test-gpu lint format lock clean

help: ## this list
	@printf 'Causeway: causal effects from a Delta lake.\n\n'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile \
	    | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'
	@printf '\nBegin with `make demo`, then `make ui`, then `.venv/bin/causeway --help`.\n'
	@printf 'Data and record lie in CAUSEWAY_HOME (default: .causeway here).\n'

setup: ## make .venv from the lock, fetch the Delta JARs (the others call it)
	@sh infra/setup.sh

demo: setup ## the rain study on 336,776 flights, from logs to a page in MLflow
	@$(BIN)/causeway demo

ui: setup ## open MLflow on the record
	@$(BIN)/causeway ui

test: lint ## what CI runs: lint and the quick tests, under 8 minutes on two cores
	@$(BIN)/python -m pytest $(IN_TWO) -m "not slow and not gpu" $(SCRATCH)

test-long: setup ## the slow tests: kills, parity, coverage, the whole demo
	@$(BIN)/python -m pytest $(IN_TWO) -m "slow and not gpu" $(SCRATCH)

test-gpu: setup ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -m gpu $(SCRATCH)

lint: setup ## style, types, direction of imports, drift of the JSON schema
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m conf.schema --check

format: setup ## put every file into the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# No --upgrade: pins move only where pyproject.toml asks for it (or UPGRADE=--upgrade).
# The bootstrap lock is what must be there before uv can install the rest, at the same versions.
COMPILE := uv pip compile --python-version 3.11 --universal --generate-hashes --no-header \
    --no-annotate --quiet $(UPGRADE)
lock: setup ## compile pyproject.toml into requirements.lock and infra/bootstrap.lock
	@$(BIN)/$(COMPILE) --all-extras pyproject.toml -o requirements.lock
	@printf '%s\n' uv setuptools wheel hatchling editables \
	    | $(BIN)/$(COMPILE) -c requirements.lock - -o infra/bootstrap.lock

clean: ## remove caches and .venv; CAUSEWAY_HOME stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
