# The virtual environment is .venv; uv installs into it what the lock files say.
PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/quickstart

.PHONY: help quickstart test lint generate e2e slow bench docs lock

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9

.venv/.dev: .venv/bin/uv requirements/dev.txt requirements/quickstart.txt pyproject.toml
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r requirements/quickstart.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --editable .
	@touch $@

quickstart: .venv/.dev  ## one experiment from rollouts to the Pareto front, on this machine
	$(BIN)/python examples/quickstart/prepare.py
	$(BIN)/mora run -f examples/quickstart --workdir $(WORKDIR)

test: .venv/.dev  ## what must hold, in less than 10 minutes
	KUBEBUILDER_ASSETS="$$(hack/tools/build test)" $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not e2e and not gpu"

lint: .venv/.dev  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p mora_jobs.api -p mora_operator
	$(BIN)/lint-imports

generate: .venv/.dev  ## crds/ and the API reference, from mora_jobs.api
	$(BIN)/python -m mora_jobs.api crds
	$(BIN)/python -m mora_jobs.api charts/mora-operator/files/crds
	hack/chart/docs  # the chart's README from its values

e2e: .venv/.dev  ## whole experiments in a real cluster: KUBECONFIG's, or one that is made here (root)
	hack/e2e $(E2E)

slow: .venv/.dev  ## what takes longer than make test allows: kills, faults, Flux
	KUBEBUILDER_ASSETS="$$(hack/tools/build test flux)" $(BIN)/pytest -m slow

bench: .venv/.dev  ## speed against the peer, as ratios
	$(BIN)/python benchmarks/rollouts.py speed --rounds 3 --prompts 32

docs: generate  ## docs that are made from code

lock: .venv/bin/uv  ## write the lock files anew
	PATH=$(CURDIR)/$(BIN):$$PATH requirements/compile.sh --upgrade
