# Two commands do all the set-up: `make demo` and `make test`. Each creates what it needs in .venv, from pinned versions.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Tests: one process a core, unless told otherwise.
JOBS ?= $(shell nproc)
COMPILED_TESTS ?= tests/bypass tests/clients tests/faults tests/promises tests/unit/dialects tests/unit/domain tests/unit/gate tests/unit/identity tests/unit/wire

.PHONY: demo run test servers test-compiled check coverage bench bench-peers generate lock clean
.DEFAULT_GOAL := test

# A Debian without python3-venv cannot make a virtual environment: root gets the package, anyone else its name.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else echo "The package python3-venv is needed: ask for it to be installed (apt-get install python3-venv)." >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(VENV)/bin/pip requirements-dev.lock pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The main job on embedded defaults, told as a story; ends with "N of N steps as expected" and that exit status.
demo: $(INSTALLED)
	@$(BIN)/python -m deploy.demo.story

# The same set-up, left running, with the commands to try.
run: $(INSTALLED)
	@$(BIN)/python -m deploy.demo.run

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the tests of the shared store want: root gets it, anyone else its name, and those tests are skipped.
servers:
	@command -v redis-server >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq redis-server; \
	  else echo "redis-server is missing, so the tests of the shared store are skipped (apt-get install redis-server)." >&2; fi; }

test: check servers
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# The tests that drive whole gates, against the package as it is shipped: its per-request path compiled. Needs a C compiler.
test-compiled: $(INSTALLED)
	PYTHONPATH=$$($(BIN)/python -m bench.compiled) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(COMPILED_TESTS) $(ARGS)

# Faults at length: thousands of generated histories of each store, a hundred kills of it, ten failovers. About half an hour; needs redis-server.
soak: $(INSTALLED)
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "" tests/faults $(ARGS)

coverage: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report= --ignore=tests/unit/demo $(ARGS)
	$(BIN)/coverage report
	$(BIN)/coverage report --include='src/frontiergate/domain/*' --fail-under=100

# What the gate costs beside nginx and haproxy, and how soon replicas enforce; the figures go to docs/figures, the tables to docs. A
# machine that does nothing else, please.
bench: $(INSTALLED)
	@for bench in tools proxies latency streaming idle scale budget tried enforce scaling report; do $(BIN)/python -m bench.$$bench || exit 1; done

# Envoy, LiteLLM and Portkey too, each of a pinned version, installed into ~/.cache/frontiergate-bench.
bench-peers: $(INSTALLED)
	@$(BIN)/python -m bench.tools --peers
	@for bench in proxies streaming; do $(BIN)/python -m bench.$$bench --peers || exit 1; done
	@$(BIN)/python -m bench.report

# Files that are made from code; a test holds them to it.
generate: $(INSTALLED)
	$(BIN)/python -m frontiergate.config.reference config/frontiergate.schema.json docs/reference/config.md
	$(BIN)/python -m frontiergate.cli.reference > docs/reference/cli.md

# After a change of dependencies in pyproject.toml.
lock: $(INSTALLED)
	$(BIN)/pip install -q pip-tools
	$(BIN)/pip-compile -q --strip-extras --no-emit-index-url --no-emit-options --generate-hashes --no-header --annotation-style=line -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --extra dev --strip-extras --no-emit-index-url --no-emit-options --generate-hashes --allow-unsafe --no-header --annotation-style=line -o requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
