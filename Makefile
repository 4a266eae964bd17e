# Everything a newcomer types. `make demo` and `make test` install what they need first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --no-deps --require-hashes
MODEL ?= smollm2
PROMPTS ?=
ADDRESS ?= 127.0.0.1:8000
# Processes that share the tests; each has a database of its own.
JOBS ?= 2
# Where pip finds another torch build (an index of CPU or CUDA wheels); empty means pip's own setting.
TORCH_INDEX ?=

.PHONY: help demo serve test test-fast check messages format install install-dev lock clean

help:
	@echo "make demo [MODEL=tiny] [PROMPTS=file]  install, run one whole round, leave the site running"
	@echo "make test                              install, check, and run every test (browser tests included)"
	@echo "make test-fast                         checks and the fast tests"
	@echo "make serve                             the site, workers and embedded servers without the demo's round"
	@echo "make messages                          renew the catalogue of translations after strings have changed"
	@echo "make format | check | lock             format the code | lint, types, contracts | renew the locked versions"
	@echo "make clean                             remove the virtual environment and caches; var/, which holds every"
	@echo "                                       label and model, stays: delete it by hand"

$(VENV)/.base:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 is needed (the locked packages are for it): make … PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making the virtual environment $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# torch comes in several builds, so it is installed by name; everything after it is hash-locked.
$(VENV)/.torch: requirements/torch.txt | $(VENV)/.base
	@echo "Installing torch (the largest part) …"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),) -r requirements/torch.txt
	@touch $@

$(VENV)/.run: requirements/web.txt requirements/embedded.txt requirements/train.txt requirements/model.txt | $(VENV)/.torch
	@echo "Installing the locked packages …"
	@$(LOCKED) -r requirements/web.txt
	@$(LOCKED) -r requirements/embedded.txt
	@$(LOCKED) -r requirements/train.txt
	@$(LOCKED) -r requirements/model.txt
	@touch $@

$(VENV)/.hone: pyproject.toml | $(VENV)/.run
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/.run
	@$(LOCKED) -r requirements/dev.txt
	@touch $@

install: $(VENV)/.run $(VENV)/.hone
install-dev: install $(VENV)/.dev

demo: install
	@exec $(BIN)/python -m training.demo --model $(MODEL) --address $(ADDRESS) $(if $(PROMPTS),--prompts "$(PROMPTS)",)

serve: install
	@HONE_ADDRESS=$(ADDRESS) exec $(BIN)/python -m hone.supervisor

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy platform/hone labeling training bench

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Reads the source, renews the catalogue's list of strings and compiles it: no gettext tools are needed.
messages: install-dev
	$(BIN)/python -m tests.translation

test-fast: check
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not browser"

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv resolves with hashes; torch is left out of every lock by the override.
lock:
	@command -v uv >/dev/null || { echo "make lock needs uv (pip install uv)"; exit 1; }
	cd requirements && for set in web embedded train dev; do \
	  uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 \
	    --override torch-override.txt $$set.in -o $$set.txt || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +
