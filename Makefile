# `make demo` and `make test` set up everything they need, on a fresh Debian 12, as root or through sudo.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: requirements
requirements: ## Pin every Python dependency again, with hashes
	$(BIN)/uv pip compile pyproject.toml --group dev --extra postgresql --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" -q -o requirements/dev.txt
