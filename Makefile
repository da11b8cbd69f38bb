# make demo   synthetic data → training → evaluation → figures
# make test   the whole test suite, a process for each core (JOBS)
# make lint   style and types
# make docs   the documentation site, in site/
# make setup  only the environment (.venv); the others do it when needed
# make lock   resolve the pinned versions again, after a change of pyproject.toml
#
# make demo DATA=path/to/coco   the same on a COCO folder of yours
# make demo INIT=file.pth       start from these weights

VENV ?= .venv
DATA ?=
INIT ?=
JOBS ?= logical
BIN = $(abspath $(VENV))/bin

.PHONY: help setup demo test lint docs lock
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p; /^$$/q' Makefile

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt pyproject.toml setup.py pose_backbones/version.py
	@bash tools/setup_env.sh $(VENV)

demo: $(VENV)/.ready
	@PYTHON=$(BIN)/python bash tools/demo.sh "$(DATA)" "$(INIT)"

test: $(VENV)/.ready
	@PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 python -m pytest \
		-n $(JOBS) --maxprocesses=8 --dist loadfile --no-loadscope-reorder

# What only developers need, on top of the environment.
$(VENV)/.dev-ready: requirements-dev.txt $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements-dev.txt
	@touch $@

lint: $(VENV)/.dev-ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The variable silences a notice about the future of the theme.
docs: $(VENV)/.dev-ready
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

# Pins that are already in a file stay unless they no longer fit. To raise all:
# make lock UPGRADE=--upgrade
UPGRADE ?=
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-python-downloads \
	--no-annotate --custom-compile-command "make lock" $(UPGRADE)

lock: $(VENV)/.dev-ready
	$(COMPILE) pyproject.toml --extra openmmlab-lite --extra detection --extra video \
		--group test --output-file requirements.txt
	$(COMPILE) --group lint --group docs --group lock --group integrations \
		--constraint requirements.txt --output-file requirements-dev.txt
