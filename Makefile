# Everything starts here: `make` lists the targets. Each one does its own set-up in .venv and .devstack and touches
# nothing outside of this checkout (but pip's cache). For GNU make from 3.81 on and a POSIX shell.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

# The first that works and is new enough; `command -v` alone would also find the shims of version managers.
PYTHON ?= $(shell for each in python3.11 python3; do \
	if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$each; break; fi; done)

WORKERS_OPTION = $(if $(WORKERS),--workers $(WORKERS))

.DEFAULT_GOAL := help
.PHONY: help demo test chaos up down status token bench check format lock clean distclean

help: ## list the targets
	@echo "Codelab Core. Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'

demo: $(INSTALLED) ## start a stack of its own, show a conversation as it streams, and end it
	@$(PY) -m devstack demo $(WORKERS_OPTION)

test: $(INSTALLED) ## run all tests on a stack of its own (ARGS="-k name" goes to pytest, WORKERS=2)
	@$(PY) -m devstack test $(WORKERS_OPTION) -- $(ARGS)

chaos: $(INSTALLED) ## break one thing after the other under load and print a table (ARGS="-k killed" for one of them)
	@$(PY) -m devstack test $(WORKERS_OPTION) -- tests/chaos --full-load $(ARGS)

up: $(INSTALLED) ## run a stack until Ctrl-C or `make down` (DETACH=1: in the background, WORKERS=2)
	@$(PY) -m devstack up $(if $(DETACH),--detach) $(WORKERS_OPTION)

down: $(INSTALLED) ## end the stack that `make up` runs
	@$(PY) -m devstack down

status: $(INSTALLED) ## say what runs in the stack that `make up` runs
	@$(PY) -m devstack status

# USER is set in every shell; only the one on make's command line is meant. Make hands it to the recipe's environment.
token: $(INSTALLED) ## print a token for that stack: make -s token USER=name [ADMIN=1]
ifeq ($(origin USER),command line)
	@$(PY) -m devstack token $(if $(filter-out 0 no false,$(ADMIN)),--admin) -- "$$USER"
else
	@echo "usage: make -s token USER=name [ADMIN=1]" >&2; exit 2
endif

bench: $(INSTALLED) ## measure cost and limits against the figures in bench/ (ARGS go to the benchmark)
	@$(PY) -m bench $(ARGS)

check: $(INSTALLED) ## format, lint, types and import contracts, as CI checks them
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(INSTALLED) ## bring all files into the project's format
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

lock: ## pin every package anew, from setup.cfg into requirements.lock (needs uv)
	@command -v uv >/dev/null || { echo "error: uv makes the lock file; see https://docs.astral.sh/uv" >&2; exit 1; }
	@echo '# Every package, pinned. Made by `make lock` from setup.cfg; do not edit.' > requirements.lock
	@uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate --no-header setup.cfg \
		>> requirements.lock

clean: ## end the stack, remove its data and all caches
	@if [ -x $(PY) ] && [ -d .devstack ]; then $(PY) -m devstack down; fi
	@rm -rf .devstack .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
	@find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean ## the same, and remove .venv
	@rm -rf $(VENV)

# Messages go to standard error: `make -s token` prints a token and nothing else.
$(INSTALLED): requirements.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or later found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "error: $(PYTHON) is no Python 3.11 or later; name another: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "error: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python$$version-venv" >&2; \
		exit 1; fi
	@echo "Installing the dependencies into $(VENV) (once; takes about a minute) ..." >&2
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) >&2
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock >&2
	@touch $@
