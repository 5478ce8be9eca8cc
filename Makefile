# Every target sets up what it needs: system packages, .venv, pinned dependencies. A second call starts at once.
# ARGS goes to the command: make demo ARGS="--parts 50", make test ARGS="-k ledger"

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test setup setup-train hooks lint lint-style lint-types lint-layers fix bench clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/setup.stamp
READY_TRAIN := .venv/setup-train.stamp
ARGS ?=

help:  ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1@\2/p' Makefile | while IFS=@ read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done

demo: $(READY)  ## the whole station with a simulated line: PLC simulator, camera, model, records
	$(BIN)/inspector demo $(ARGS)

test: $(READY)  ## all tests
	$(BIN)/python -m pytest $(ARGS)

setup: $(READY)  ## set up, and do nothing else

setup-train: $(READY_TRAIN)  ## set up, and add what training and compiling a model need (torch: hundreds of MB)

lint: lint-style lint-types lint-layers  ## ruff, mypy strict on sources and tests, directions of imports

lint-style: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

lint-types: $(READY)
	$(BIN)/mypy

lint-layers: $(READY)
	$(BIN)/lint-imports --no-logo

fix: $(READY)  ## let ruff repair and format what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

hooks: $(READY)  ## have git run make lint before each commit
	$(BIN)/pre-commit install

bench: $(READY)  ## latency, throughput and memory on this machine; with setup-train also against ultralytics
	$(BIN)/inspector bench $(ARGS)
	@if $(BIN)/python -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("ultralytics"))'; then \
		echo "$(BIN)/python -m models.bench"; $(BIN)/python -m models.bench; \
	else \
		echo "left out: the comparison with ultralytics (make setup-train installs what it needs)"; \
	fi

clean:  ## remove .venv, builds and caches
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml packaging/constraints.txt packaging/system-packages.txt packaging/prepare.py
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) is missing: apt-get install python3" >&2; exit 1; }
	$(PYTHON) packaging/prepare.py
	@touch $@

$(READY_TRAIN): $(READY)
	$(PYTHON) packaging/prepare.py --extra train
	@touch $@
