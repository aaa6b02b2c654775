# Portalis: `make demo` and `make test` require Python, make and a C library, and install everything else.

VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS ?=
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)
# markers of the tests that `make check` excludes: they start a server, a container engine or Kit, or move a lot of data
NOT_CHECKED := triton or engine or kit or registry or service or alone or bulk
MUTANTS ?=
SOAK ?=
FUZZ_SECONDS ?= 600
BENCH ?=
ASSEMBLYSCRIPT := 0.28

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format bench soak fuzz-native wheel mutants schemas golden parts clean venv

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

demo: $(STAMPS)/demo ## Serve the examples on a real Triton, send realistic input, show the output
	$(BIN)/portalis demo

# regardless of the environment: pytest caches its rewritten assertions for the next run, and Python caches the bytecode of
# modules for all processes that tests start
test check: export PYTHONDONTWRITEBYTECODE :=

test: $(STAMPS)/dev build/npm/.stamp ## Run all tests (PYTEST_ARGS='-k softmax' for a selection)
	$(PYTEST) --cov --cov-report=term $(PYTEST_ARGS)

check: lint build/npm/.stamp ## Lint, and run the tests without a server, engine, Kit or bulk data, with fewer random inputs
	$(PYTEST) --hypothesis-profile=quick -m 'not ($(NOT_CHECKED))' $(PYTEST_ARGS)

lint: $(STAMPS)/dev ## Check style, types, import contracts and words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy portalis
	$(BIN)/mypy tests
	$(BIN)/lint-imports pyproject.toml
	$(BIN)/python .ci/words

format: $(STAMPS)/dev ## Format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMPS)/dev build/npm/.stamp ## Run the benchmarks, print the table, write build/bench/*.json (BENCH='--only echo' for one)
	$(BIN)/python -m benchmarks $(BENCH)

soak: $(STAMPS)/dev ## Run a mixed load with hostile requests on the service for minutes (SOAK='--minutes 60')
	$(BIN)/python -m tests.hostile.soak $(SOAK)

fuzz-native: $(STAMPS)/dev ## Fuzz the native executor (FUZZ_SECONDS=600); findings are stored in build/fuzz
	$(BIN)/python -m tests.native.fuzzing $(FUZZ_SECONDS)

wheel: $(STAMPS)/dev ## Build the sdist, and the wheel from the sdist, into build/wheels
	rm -rf build/wheels
	$(BIN)/python -m build --outdir build/wheels

mutants: $(STAMPS)/dev ## Mutation testing of the critical paths; takes hours (MUTANTS=... for a selection)
	.ci/mutants $(MUTANTS)

schemas: $(STAMPS)/dev ## Regenerate the committed JSON Schemas
	for name in spec input output error manifest; do $(BIN)/portalis schema $$name >docs/schemas/$$name.schema.json; done

golden: $(STAMPS)/dev ## Regenerate the extensions and build contexts with which tests compare
	PORTALIS_GOLDEN=write $(BIN)/python -m pytest -q tests/omniverse/test_golden.py tests/nim/test_golden.py

parts: ## As root on Debian: install rustc for wasm32, clang, libpython, perf_analyzer, a Docker engine with a base image
	.ci/parts

clean: ## Remove build outputs, except the virtual environment
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

venv: $(STAMPS)/pip

$(BIN)/python:
	@python=$${PYTHON:-$$(sh .ci/find-python)} && echo "creating $(VENV) with $$python" && "$$python" -m venv $(VENV)

$(STAMPS)/pip: | $(BIN)/python
	@mkdir -p $(STAMPS)
	$(PIP) install --upgrade 'pip>=23'
	@touch $@

$(STAMPS)/demo: pyproject.toml $(STAMPS)/pip
	$(PIP) install --editable '.[triton]'
	@touch $@

$(STAMPS)/dev: pyproject.toml $(STAMPS)/pip
	$(PIP) install --editable '.[dev]'
	@touch $@

# without npm, the AssemblyScript tests are skipped with a message
build/npm/.stamp: Makefile
	@mkdir -p build/npm
	if command -v npm >/dev/null; then \
	    npm install --silent --no-fund --no-audit --prefix build/npm 'assemblyscript@^$(ASSEMBLYSCRIPT)'; \
	fi
	@touch $@
