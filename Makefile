# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets itself up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help setup setup-tests demo test test-newest lock lint unit docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: ## Debian packages and the virtual environment
	@tools/setup

demo: setup ## MariaDB on a ReadWriteOnce volume survives five faults, with the figures (BASELINE=1: plain Kubernetes beside it)
	@$(BIN)/python -m hamgr_sandbox.demo $(if $(BASELINE),--baseline) $(DEMO_ARGS)

# What tests alone want: Debian's fence agents, etcd's own command line, a systemd in a container.
setup-tests:
	@tools/setup etcdctl:etcd-client fence_dummy:fence-agents systemd-nspawn:systemd-container systemd-analyze:systemd

test: setup-tests lint ## everything .ci/run checks: lint, types, layers, tests
	$(BIN)/pytest -n 2 --dist loadfile --ignore=tests/e2e --ignore=tests/faults $(PYTEST_ARGS)
	$(BIN)/pytest -n 2 --dist loadfile tests/e2e tests/faults $(PYTEST_ARGS)

test-newest: ## the same with the newest Python packages that pyproject.toml allows, in an environment of their own
	@$(MAKE) test VENV=build/newest NEWEST=1

lock: ## requirements.lock anew: the newest packages that pyproject.toml allows, exact and with hashes, for Python 3.11 and newer
	$(or $(PYTHON),python3) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check --upgrade uv
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-emit-index-url --custom-compile-command "make lock" --extra sandbox --extra test --group setup \
	  --output-file requirements.lock pyproject.toml

lint: setup ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup ## the fast tests alone
	$(BIN)/pytest tests/unit tests/scheduler $(PYTEST_ARGS)

docs: setup ## what is made from the code: docs/agents.md, docs/reference-options.md, tables of exit codes and requests
	$(BIN)/python tools/agent_docs.py
	$(BIN)/python tools/option_docs.py
	$(BIN)/python tools/api_docs.py

campaign-faults: setup ## N random fault schedules on the sandbox with audits after each: about 8 s a schedule (N=20; SEED=123 plays one again)
	@$(BIN)/python -m hamgr_sandbox.campaign $(if $(SEED),--seed $(SEED),--count $(or $(N),20) --first $(or $(FIRST),1)) $(CAMPAIGN_ARGS)

kill-matrix: setup ## SIGKILL of the leader at every point of every fencing level: whole hamgrds, and the fencer alone (17 minutes on two busy cores; LEVEL=node POINT=17 plays one again)
	@set -o pipefail; HAMGR_KILL_EVERY=$(or $(EVERY),1) HAMGR_KILL_LEVEL="$(LEVEL)" HAMGR_KILL_POINT=$(or $(POINT),0) \
	  $(BIN)/pytest -q -rP -n 2 --dist worksteal -k every_point tests/integration/daemon/test_hamgrd_killed.py \
	  $(if $(LEVEL),,tests/integration/fencer/test_killed.py) | awk ' \
	    /^hamgrd: |^level |leaders killed|^FAILED |^[>E]  |^tests.*Error|^[0-9]+ (passed|failed)/; \
	    /^hamgrd: / { killed += $$2; tried += $$5; levels++ }; \
	    END { if (levels > 1) print "hamgrd: " killed " killed at " tried " points in all" }'

clean: ## remove what builds and tests leave
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info

.PHONY: fuzz campaign-scheduler bench-scheduler
fuzz: setup ## N (5000) times whatever bytes in place of what etcd holds
	@HAMGR_FUZZ=$(or $(N),5000) $(BIN)/pytest -q --timeout 0 tests/unit/controller/test_fuzzed_keys.py

campaign-scheduler: setup ## N (10000) generated CIBs to crm_simulate and to hamgr; figures in build/scheduler-campaign.json
	@PYTHONPATH=tests $(BIN)/python -m scheduler.differential.campaign --count $(or $(N),10000) $(CAMPAIGN_ARGS)

bench-scheduler: setup ## the scheduler beside crm_simulate: process time, CPU, growth
	@$(BIN)/python bench/scheduler.py $(BENCH_ARGS)
