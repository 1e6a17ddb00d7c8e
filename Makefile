# voiceagent: two commands matter, `make run` and `make test`. Everything stays inside this folder (.venv/, var/).
.DEFAULT_GOAL := help
.PHONY: help run call doctor test test-services test-browser chaos scenarios bench bench-full bench-clear check format lock install clean
PY := .venv/bin/python
PROCESSES ?= 3# of a test run; most tests wait for a call's real time

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  Variables: PORT, PUBLIC_URL, REDIS_URL, DATABASE_URL, OPENAI_API_KEY, ... (see .env.example)"

run: .venv/.base ## Start everything on this machine; the first time with a demonstration call
	@exec $(PY) manage.py run

call: .venv/.base ## Place a simulated call to the running server and print what is said
	@$(PY) manage.py call

doctor: .venv/.base ## Check the configuration and say how to mend what is wrong
	@$(PY) manage.py doctor

test: .venv/.dev ## Run the whole suite, offline (TESTS=tests.engine for a part of it)
	@$(PY) manage.py test --parallel $(PROCESSES) $(TESTS)

test-services: .venv/.dev ## The same suite on a Redis and a PostgreSQL server (REDIS_URL, DATABASE_URL)
	@$(PY) -m tests.services --parallel $(PROCESSES) $(TESTS)

test-browser: .venv/.e2e ## The same suite with the browser tests (needs chromium)
	@$(PY) manage.py test --parallel $(PROCESSES) $(TESTS)

chaos: .venv/.dev ## Break Redis, the database, workers and web under calls; compare the ledgers (CHAOS=--short)
	@$(PY) -m tests.chaos $(CHAOS)

scenarios: .venv/.dev ## Script a hundred calls with real speech, each on a rough line too (SCENARIOS="--only NAME --plain")
	@$(PY) -m tests.scenarios $(SCENARIOS)

bench: .venv/.base ## The product beside a bare relay, Twilio's sample and pipecat-ai, 3 minutes (needs gcc; BENCH=--keep)
	@$(PY) -m bench.short $(BENCH)

bench-full: .venv/.base ## Calls per core, churn, growth, writes, two processes; 20 minutes (FULL="--keep --only churn")
	@$(PY) -m bench.full $(FULL)

bench-clear: .venv/.base ## How soon the agent stops when the caller speaks, 25 calls on one core (CLEAR="--calls 50 --page")
	@$(PY) -m bench clear $(CLEAR)

bench-web: .venv/.base ## How long pages of calls take over a million calls (needs PostgreSQL; minutes; WEB="--keep --results")
	@$(PY) -m bench.web $(WEB)

check: .venv/.dev ## Format, lint, types, import contracts, migrations, templates, container files
	@.ci/check

format: .venv/.dev ## Put the code into its form
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

install: .venv/.dev ## Only set up .venv, with what development needs

lock: .venv/.base ## Resolve requirements/*.in again into the hash-locked *.txt
	@cd requirements && for list in bootstrap base dev e2e prod; do \
	    echo "$$list.in -> $$list.txt"; \
	    ../.venv/bin/uv pip compile -q --upgrade --system-certs --universal --python-version 3.11 --generate-hashes \
	        --no-emit-index-url $$list.in -o $$list.txt || exit 1; \
	done

clean: ## Remove .venv and caches (var/ with the database stays; `rm -r var` starts afresh)
	rm -rf .venv staticfiles .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.%: requirements/%.txt requirements/bootstrap.txt
	@requirements/install.sh $*
	@touch $@
