# make demo    the whole loop on this machine, from nothing
# make test    lint, types, tests
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := infra/locks/cpu.txt
# Only the CPU build of torch may come from elsewhere, and only where the configured sources lack it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test chaos lint format locks hostile-table clean
.PHONY: bench-flow bench-engine bench-openai bench-reward bench-choice
.PHONY: bench-quality bench-pairs bench-cascade bench-newcomer bench-train bench-route
.PHONY: bench-guarantee bench-serve
.PHONY: bench-prefect-database bench-up browser
.PHONY: bench-drift bench-plan bench-warm-start bench-nights
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): $(LOCK) pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "signalbox needs Python 3.11; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked environment into $(VENV) (about 3 minutes) ..."
	@$(BIN)/pip install --quiet --no-deps -r $(LOCK) \
		|| $(BIN)/pip install --quiet --no-deps --extra-index-url $(TORCH_INDEX) -r $(LOCK)
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/signalbox demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

# Every write boundary at every pass, not just a choice of them, SIGKILLs of real processes, nodes
# that are lost, 200 task runs at once, and workers that die or fail while they train; the table of
# faults is printed at the end and written to build/faults.md.
chaos: setup
	$(BIN)/pytest tests/faults tests/nodes tests/postgres tests/cluster/training \
		-m 'slow or not slow' --fault-table build/faults.md

# Known vulnerabilities of what the locks pin. Fails when no database is reachable, unless with
# ARGUMENTS=--reachable, which then says in capitals that nothing was audited.
audit: setup
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit \
		&& $(VENV)/audit/bin/pip install --quiet pip-audit==2.10.1; }
	@$(BIN)/python infra/audit.py --pip-audit $(VENV)/audit/bin/pip-audit $(ARGUMENTS)

# The images' locks, anew from the lock.
locks: setup
	$(BIN)/python infra/locks/derive.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# 50 and 200 task runs at once on Prefect servers on PostgreSQL and SQLite (about 15 minutes).
bench-prefect-database: setup
	$(BIN)/python tests/bench/bench_prefect_database.py $(ARGUMENTS)

bench-flow: setup
	$(BIN)/python tests/bench/bench_flow.py

bench-engine: setup
	$(BIN)/python tests/bench/bench_engine.py infra/demo/models/polymath

# The openai engine against a straight client of the same vLLM server (about 3 minutes).
bench-openai: setup
	$(BIN)/python tests/bench/bench_openai.py infra/demo/models/polymath $(ARGUMENTS)

# A reward model as a scorer against bare LLM.classify (about 3 minutes).
bench-reward: setup
	$(BIN)/python tests/bench/bench_reward.py $(ARGUMENTS)

# Every method on RouterDC's and LLMRouter's data; DATA holds clones of the two repositories.
DATA ?= ../shared/data
bench-quality: setup
	$(BIN)/python tests/bench/bench_quality.py --data $(DATA) $(ARGUMENTS)

# The same for RouteLLM's strong/weak pair.
bench-pairs: setup
	$(BIN)/python tests/bench/bench_pairs.py --data $(DATA) $(ARGUMENTS)

# A cascade that reads the weak model's answer, against deciding by the query alone (a minute).
bench-cascade: setup
	$(BIN)/python tests/bench/bench_cascade.py --data $(DATA) $(ARGUMENTS)

# A candidate that joins a fitted router, against a fit with it from the start (about 5 minutes).
bench-newcomer: setup
	$(BIN)/python tests/bench/bench_newcomer.py --data $(DATA) $(ARGUMENTS)

# Queries chosen to be labelled, against as many drawn at random (about 40 minutes at 40 draws).
bench-choice: setup
	$(BIN)/python tests/bench/bench_choice.py --data $(DATA) $(ARGUMENTS)

# How often drift is told where there is none, and where there is (about 2 minutes).
bench-drift: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_drift.py --data $(DATA) $(ARGUMENTS)

# Certified savings against the truth: 2,000 calibrations of each size (about 2 minutes).
bench-guarantee: setup
	$(BIN)/python tests/bench/bench_guarantee.py --data $(DATA) $(ARGUMENTS)

# Tuning an encoder: against a straight re-implementation of the reference, and on Ray Train.
bench-train: setup
	$(BIN)/python tests/bench/bench_train.py --data $(DATA) $(ARGUMENTS)

# What a warm start saves and costs: five nights of four methods, five seeds (about 20 minutes).
bench-warm-start: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_warm_start.py --data $(DATA) $(ARGUMENTS)

# Routing a file: against the bare kernel and the way peers do it, and ten times the rows (about 10
# minutes; 12 GB of disk for a while); and the same of a router with a pretrained encoder.
bench-route: setup
	$(BIN)/python tests/bench/bench_route.py --large 10000000 $(ARGUMENTS)
	$(BIN)/python tests/bench/bench_route_encoder.py --data $(DATA) --rows 12000

# From `signalbox up` to a run started by hand in a browser (a few minutes).
bench-up: setup
	$(BIN)/python tests/bench/bench_up.py $(ARGUMENTS)

# Sixty nights of retraining in 24 made-up worlds, with gate and admission and without, promotions for
# less money, and poison by degree (about 4 minutes).
bench-nights: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_nights.py $(ARGUMENTS)

# Runs in a real browser, from the form to what they leave (the forms alone are in `make test`).
browser: setup
	$(BIN)/pytest tests/browser -m 'slow or not slow'

# What serving adds to a request, against direct calls of the back-end (about 2 minutes).
bench-serve: setup
	$(BIN)/python tests/bench/bench_serve.py $(ARGUMENTS)

# Planning and committing on lakes of 0.1, 1 and 10 million completions (about 6 minutes; 4 GB of
# disk for a while).
bench-plan: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_plan.py $(ARGUMENTS)

# Programs that attack the sandbox of code rewards, and what becomes of them (half a minute).
hostile-table: setup
	$(BIN)/python tests/bench/hostile_programs.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
