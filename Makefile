# What a person does with this project. `make` alone shows the list.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help run test check lint format cluster cluster-down bench faults simulate schemas release-schemas lock servers

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

run: $(INSTALLED) ## Start Keyledger in one process on http://127.0.0.1:8700
	@exec $(BIN)/keyledger serve

test: $(INSTALLED) servers lint ## Run every test, on real Kafka and Postgres
	$(BIN)/pytest -n 2 --dist loadgroup tests

check: $(INSTALLED) lint ## Lint, types, import contracts and unit tests, in under a minute
	$(BIN)/pytest -q -n 2 tests/unit tests/architecture

lint: $(INSTALLED) ## Lint, formatting, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

cluster: $(INSTALLED) servers ## Start Kafka, Postgres, nginx and a process per service on http://127.0.0.1:8700
	$(BIN)/python -m infra.local up

cluster-down: $(INSTALLED) ## Stop what `make cluster` started
	$(BIN)/python -m infra.local down

bench: $(INSTALLED) ## Measure speed, each figure against a ceiling of the same run
	@infra/install-debian.sh bench
	$(BIN)/python -m tests.benchmarks

faults: $(INSTALLED) servers ## Break processes, Kafka, Postgres, disks and the network under load, and look for what was lost (within an hour)
	$(BIN)/python -m tests.faults

simulate: $(INSTALLED) ## Find planted bugs, then run 100,000 seeded schedules of the services in virtual time
	$(BIN)/python -m tests.simulation --plants
	$(BIN)/python -m tests.simulation --schedules 100000

schemas: $(INSTALLED) ## Write schemas/ and the containers' gateway from the code, and say what breaks the released contracts
	$(BIN)/python -m keyledger_standalone.schemas schemas
	$(BIN)/python -m infra.containers.gateway
	$(BIN)/python -m infra.contracts check

release-schemas: $(INSTALLED) ## Make the contracts of today the released ones, where they only add
	$(BIN)/python -m infra.contracts release

servers:
	@infra/install-debian.sh

lock: $(INSTALLED) ## Pin the newest allowed version of every dependency, by hash
	$(BIN)/uv pip compile --upgrade --python-version 3.11 --universal --extra server --group dev --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	@echo "Making the environment in .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Keyledger needs Python 3.11 or newer")'
	@$(PYTHON) -m venv .venv
	@echo "Installing the pinned packages of requirements.lock"
	@$(BIN)/pip install --disable-pip-version-check --require-hashes -r requirements.lock | grep --line-buffered '^Collecting' || true
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-build-isolation --no-deps -e .
	@touch $@
