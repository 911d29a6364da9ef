# `make run` and `make test` need Python 3.11 or later with venv, and nothing else that is not installed by them.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

# one thread for each of pytest's two processes
export OMP_NUM_THREADS ?= 1

.NOTPARALLEL:
.PHONY: run test test-slow benchmark benchmark-gpu equal results lint format clean

run: $(VENV)/installed  ## train, score and compare the grid `digits`; ends with what it comes to and where its files are
	$(BIN)/bench run

test: lint  ## what CI runs
	$(BIN)/pytest -n 2 --dist loadgroup -m "not slow"

test-slow: $(VENV)/installed  ## the tests that take minutes
	$(BIN)/pytest -m slow

benchmark: $(VENV)/installed  ## how fast it is, into results/speed.md; nothing else should run
	$(BIN)/python tests/benchmarks/run.py
	$(BIN)/pytest tests/benchmarks/log_z.py -s

equal: $(VENV)/installed  ## whether the code gives the same numbers as that of the commit BEFORE; if so, its records stay valid
	$(BIN)/python tests/equal.py $(BEFORE)

benchmark-gpu: $(VENV)/installed  ## what a GPU does: correctness, seconds an epoch, cells an hour, the MNIST column
	$(BIN)/python tests/benchmarks/gpu.py

# grids with records in results/, whose tables follow from them
GRIDS := $(filter-out %-curves %-items,$(basename $(notdir $(wildcard results/*.parquet))))

results: $(VENV)/installed  ## tables and page of the committed records again, results/GRID.md and index.html
	mkdir -p build
	for grid in $(GRIDS); do \
		own="results/$$grid.toml --plugins results/plugins"; [ -e results/$$grid.toml ] || own=$$grid; \
		BENCH_STORE=build/none $(BIN)/bench report --grid $$own --out build/results/$$grid >build/$$grid.log || exit 1; \
		cp build/results/$$grid/table.md results/$$grid.md; done
	cp build/results/mnist-annealed/differences-mnist.png results/differences-mnist-annealed.png
	BENCH_STORE=build/none $(BIN)/bench report --html --out build/results/all >build/all.log
	cp build/results/all/index.html results/index.html

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist

# torch first, by its pin alone, so that no later step can bring in another build of it; hatchling builds the project
$(VENV)/installed: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or later with venv; install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 2; fi
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch hatchling
	$(PIP) --no-build-isolation --editable '.[dev]'
	touch $@
