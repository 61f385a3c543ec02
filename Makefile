# The tasks of this repository; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --dist worksteal
SKIPPED := $(VENV)/skipped-tests
# Keep bytecode files: they halve the time that importing pytorch_lightning takes. Containers often set this variable.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install ffcv cluster run check test engines matrix lint types format bench docs site clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

install: $(VENV)/.installed ## make .venv and install the pinned dependencies

$(VENV)/.installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null # a .venv of uv's
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

ffcv: $(VENV)/.ffcv ## FFCV built from its source; needs Debian's libopencv-dev libturbojpeg0-dev pkg-config

$(VENV)/.ffcv: $(VENV)/.installed
	pkg-config --print-errors --exists opencv4 libturbojpeg
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt -e '.[ffcv]'
	$(BIN)/python -c "import ffcv.loader"
	touch $@

cluster: ## Slurm on this one machine, to try sweeps with: docs/cluster.md
	cluster/slurm install
	cluster/slurm start

run: install ## IMP of LeNet-300-100 on scikit-learn's digits, to a table and a curve
	$(BIN)/python run.py threads=1

check: install ## ruff, mypy and the fast tests: what one runs between two edits
	$(MAKE) --no-print-directory -j 2 lint-and-types fast

.PHONY: lint-and-types fast
lint-and-types: lint types
fast: install # in one process: importing everything takes as long as running them
	$(BIN)/python -m pytest -p no:xdist -m "not slow and not engine"

test: install ## all tests except those marked engine: FFCV, Slurm, Ray, GPU, most networks and recipes
	$(PYTEST) -n 2 -m "not engine" --durations=20 --skipped-to=$(SKIPPED)

engines: install ## the tests that `make test` leaves out, and those that it skipped
	$(PYTEST) -n 3 --durations=20 -rs --engines-and=$(SKIPPED)

matrix: install ## the wheel and the fast tests in fresh environments: every Python here, lowest and newest versions
	$(BIN)/python -m tests.matrix

lint: install ## ruff: errors, style, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy
	$(BIN)/mypy lth hydra_plugins benchmarks run.py

format: install ## rewrite the sources in the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## throughput ratios, measured interleaved in one process
	$(BIN)/python -m benchmarks

docs: install ## docs/recipes.md, the table of published recipes, from conf/experiment
	$(BIN)/python -m docs.recipes > docs/.recipes.md
	mv docs/.recipes.md docs/recipes.md

site: $(VENV)/.site ## the documentation in site/: warnings are errors, links are checked, works from a folder
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	$(BIN)/python -m docs.pages.links site

$(VENV)/.site: $(VENV)/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt -r pyproject.toml --extra docs
	touch $@

clean: ## remove the environment and caches; runs stay
	rm -rf $(VENV) site .pytest_cache .ruff_cache .mypy_cache build *.egg-info
