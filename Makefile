# Every task of the project. `make` alone prints this list.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
T ?= tests
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run demo test check fmt servers lock ui ui-check dashboards settings-page bench prove prove-alerts alerts-check fuzz up down compose-check clean

help: ## list all tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use it

run: $(VENV)/.run ## start the whole suite in one process: no Docker, no token
	@$(PY) -m services $(if $(wildcard .env),--env-file .env)

demo: $(VENV)/.run ## send several events and an alert to the running suite
	@$(PY) -m services.demo $(if $(wildcard .env),--env-file .env)

##@ Work on it

test: $(VENV)/.dev servers ## run all tests, or some: make test T=tests/outbox
	@$(PY) -m pytest -n 4 --dist loadgroup $(T)

check: $(VENV)/.dev ## check format, lint, types and import contracts, then run all tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(MAKE) test

fmt: $(VENV)/.dev ## format, and fix lint findings where possible
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

servers: ## install PostgreSQL, Redis, Prometheus, Alertmanager and Chromium from Debian, if permitted
	@sh tests/install-servers.sh

lock: $(VENV)/.dev ## update the lock files from pyproject.toml
	$(PY) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header pyproject.toml -o requirements.lock
	$(PY) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

ui: $(VENV)/.dev ## build the dashboard's page from services/dashboard/ui
	@$(PY) services/dashboard/ui/build.py

ui-check: $(VENV)/.dev ## rebuild the page, compare it with the committed files, run its tests
	@$(PY) services/dashboard/ui/build.py check
	@$(PY) services/dashboard/ui/build.py test

dashboards: $(VENV)/.dev ## generate Grafana's dashboards from grafana/dashboards/*.py
	@$(PY) -m grafana.dashboards

settings-page: $(VENV)/.dev ## write docs/settings.md from the settings classes and .env.example
	@$(PY) -m tests.house.settings_page

bench: $(VENV)/.dev servers ## print the tables of docs/performance.md, or one: make bench B=delivery
	@for name in $(or $(B),intake delivery telemetry backlog replicas latency alerts); do $(PY) -m benchmarks.$$name || exit 1; done

fuzz: $(VENV)/.dev servers ## send random requests to every operation of every service (F=--examples=50)
	@$(PY) -m tests.fuzz $(F)

prove: $(VENV)/.dev servers ## prove that no message is lost: kill -9, outages, full disks (Q=--quick: one minute)
	@$(PY) -m benchmarks.prove $(Q)

prove-alerts: $(VENV)/.dev servers ## prove that no alert is lost: real Alertmanagers, a misbehaving Telegram, kill -9
	@$(PY) -m benchmarks.prove_alerts $(Q)

alerts-check: $(VENV)/.dev servers ## break a real cause of every alert, and see it fire, arrive and resolve (R=--rule=NAME)
	@$(PY) -m benchmarks.alerts_check $(R)

##@ Docker Compose

up: ## start the stack with Docker Compose and wait until it is healthy
	docker compose up --build --detach --wait

down: ## stop the stack; volumes keep the data
	docker compose down

compose-check: $(VENV)/.dev ## test the stack: build, start, send an event and an alert, scale, stop
	@$(PY) -m tests.stack.compose_check $(addprefix --override ,$(OVERRIDE)) $(addprefix --bind ,$(BIND_ADDRESS))

##@ Housekeeping

clean: ## remove the virtual environment and caches; keeps data/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build

# uv is used if it is installed; it is only faster.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@if command -v uv >/dev/null 2>&1; then uv venv -q --python $(PYTHON) $(VENV); else $(PYTHON) -m venv $(VENV); fi

define install
	@echo "Setting up $(VENV) from $(1)"
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install -q --python $(PY) --require-hashes -r $(1); \
	else $(PY) -m pip install -q --disable-pip-version-check --require-hashes -r $(1); fi
endef

$(VENV)/.run: requirements.lock | $(VENV)/bin/python
	$(call install,requirements.lock)
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(call install,requirements-dev.lock)
	@touch $@
