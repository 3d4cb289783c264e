# Everything runs in an environment of its own, made from the pins: only Python >= 3.11 and make are needed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Two tests side by side, each on one core: the matrices are small, and threads on top only wait for each other.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
PINS = requirements/lock.txt
INSTALLED = $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test slow check lint bench lock clean

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Make a serial study on the spot, measure it and open the dashboard
	$(BIN)/calcitrack demo

test: $(INSTALLED)  ## Run the tests, the slow ones left out
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

slow: $(INSTALLED)  ## Run the slow tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: $(INSTALLED)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  ## Check style and types, then run the tests

bench: $(INSTALLED)  ## Run the benchmarks; each prints a table
	@set -e; for name in limbs loading registration finding following identity; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done

lock:  ## Renew the pins (needs uv)
	uv pip compile pyproject.toml --extra test --universal --python-version 3.11 --fork-strategy fewest \
	  --upgrade --generate-hashes --no-annotate --no-header --no-config --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file $(PINS)

clean:  ## Remove the environment and what the tools left behind
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "calcitrack needs Python 3.11 or later; name one with make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "this Python cannot make environments: install the package python3-venv of your system"; exit 1; }
	@echo "setting up $(VENV): a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --require-hashes -r $(PINS)
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@
