# `make demo` and `make test` set up all they need, on a fresh Debian 12, as root or through sudo.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Some machines have it set. Then each of thousands of processes would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
DEBIAN := $(shell sed 's/\#.*//' requirements/debian.txt)
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup system demo test test-histories test-long test-guards check format bench docs requirements clean

help: ## This list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | column -t -s $$'\t'

setup: system $(INSTALLED) ## Install everything: Debian packages, then Python's into .venv

system:
	@missing=$$(for name in $(DEBIAN); do \
	  dpkg-query -W -f '$${Status}\n' "$$name" 2>/dev/null | grep -q '^install ok installed' || echo "$$name"; \
	done); \
	if [ -n "$$missing" ]; then \
	  echo "installing" $$missing; \
	  $(SUDO) apt-get update -q; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

$(INSTALLED): requirements/dev.txt pyproject.toml | system
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## Build, prove, release and resolve the example Debian image
	$(BIN)/imagectl build debian-base
	$(BIN)/imagectl promote stable debian-base --reason "make demo"
	$(BIN)/imagectl list
	$(BIN)/imagectl resolve debian-base:stable
	$(BIN)/imagectl resolve --config examples/consumer/.imagectl.yaml

# Three files at once, also on two cores: with two, a quarter of the cores' time went unused, while
# both waited for machines and servers to begin and to end. The slowest files are begun first
# (tests/integration/conftest.py), not those with the most tests.
test: setup ## The whole test suite, but for the cases that take too long for every run
	$(PYTEST) -m "not long" --numprocesses=3 --dist=loadfile --no-loadscope-reorder \
	  --durations=15 $(ARGS)

# LIVES=1000000 FIRST_LIFE=10100: how many, and from which seed on.
HISTORIES := tests/integration/test_upheaval_sqlite.py
test-histories: setup ## 10,000 random histories of a catalog: nothing needed is ever deleted
	$(PYTEST) -m long --numprocesses=$(shell nproc) --dist=worksteal --verbose $(HISTORIES) $(ARGS)

test-long: setup ## The slow cases: both example images, built for real; the histories again
	$(PYTEST) -m long $(ARGS)

test-guards: setup ## Take out each safety guard in turn, and see that a test fails
	PYTHONPATH=tests $(BIN)/python -m support.guards $(ARGS)

check: setup ## Formatting, lint, types, layers, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@badly=$$(gofmt -l tests); test -z "$$badly" || { echo "gofmt -w" $$badly; exit 1; }
	$(BIN)/python -m imagectl.cli.reference --check
	$(PYTEST) -q tests/unit/test_docs.py

format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## Write the generated pages of docs/, and the JSON Schemas, again
	$(BIN)/python -m imagectl.cli.reference
	$(BIN)/python -c 'from pathlib import Path; from imagectl.formats import schemas; \
	  schemas.write_all(Path(schemas.__file__).parent)'

bench: setup ## Measure; ratios within one run
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

requirements: $(INSTALLED) ## Pin every Python dependency again, with hashes
	$(BIN)/uv pip compile pyproject.toml --group dev --extra postgresql \
	  --generate-hashes --upgrade \
	  --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make requirements" -q -o requirements/dev.txt
	$(BIN)/uv pip compile pyproject.toml --extra postgresql --constraint requirements/dev.txt \
	  --generate-hashes --no-annotate \
	  --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make requirements" -q -o requirements/run.txt
	$(BIN)/uv pip compile --group build --constraint requirements/dev.txt \
	  --generate-hashes --no-annotate \
	  --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make requirements" -q -o requirements/build.txt

clean: ## Remove what tools made here (not .imagectl: that is your catalog)
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache
