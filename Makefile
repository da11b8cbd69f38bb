# make demo   synthetic data → training → evaluation → pictures
# make test   the whole test suite, a process for each core (JOBS)
# make lint   style
# make setup  only the environment (.venv); the others do it when needed
#
# make demo DATA=path/to/coco   the same on a COCO folder of yours
# make demo INIT=file.pth       start from these weights

VENV ?= .venv
DATA ?=
INIT ?=
JOBS ?= logical
BIN = $(abspath $(VENV))/bin

.PHONY: help setup demo test lint
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p; /^$$/q' Makefile

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt setup.py pose_backbones/version.py
	@bash tools/setup_env.sh $(VENV)

demo: $(VENV)/.ready
	@PYTHON=$(BIN)/python bash tools/demo.sh "$(DATA)" "$(INIT)"

test: $(VENV)/.ready
	@PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 python -m pytest \
		-n $(JOBS) --maxprocesses=8 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.ready
	@$(BIN)/ruff check .
