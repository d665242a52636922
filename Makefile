# Every target does its own set-up: a machine with Python 3.11 or later and make is enough.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python
STAMP := .venv/.installed
PLOTS := .venv/.plots
PROMTOOL := .cache/promtool/usr/bin/promtool
UP_FLAGS ?=
SIM_COUNT ?= 200
# Areas of the public S3 suite about other services than S3.
OTHER_SERVICES := --without "S3 Select" --without "SNS topics" --without "STS web identity" \
  --without "STS assume role" --without "IAM user policies" --without "IAM cross-account" \
  --without "IAM accounts"

UV_LOCK := uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
  --python-version 3.11

# $(call need,FILE,WHAT): stop with status 2 when a part of the map has no file.
need = @test -e $(1) || { echo "make $@: $(2) does not exist yet ($(1) is missing)" >&2; exit 2; }

.PHONY: help up compiled venv deb fmt check test matrix sim faults canaries mutations fuzz acceptance sovereignty clients promtool conformance \
        bench bench-check compare profile lock sbom wheelhouse hook

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

up: compiled ## set up, then run a whole cluster in the foreground
	$(call need,gateway/main.py,the hexagone command)
	exec $(BIN)/hexagone up $(UP_FLAGS)

# An installed package comes with compiled modules. Where PYTHONDONTWRITEBYTECODE is set, each start
# of a checkout would compile all of them again: more than a second.
compiled: venv
	@$(PY) -m compileall -q gateway storaged bench

venv: $(STAMP) ## virtual environment from requirements.lock, project editable

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; say which: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || test -x $(PY) || .ci/debs python3-venv
	@echo "installing requirements.lock into .venv; the first time this takes a minute or two"
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

deb: ## Debian packages that the tests need, only those missing
	@.ci/debs rclone restic iproute2 strace e2fsprogs nftables procps systemd softhsm2

fmt: venv ## format and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: venv ## format, lint, types, layers, house rules (below 60 s)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PY) -m pytest tests/test_tidy.py

test: venv deb $(PLOTS) $(PROMTOOL) ## all set-up, then the suites and the short simulation (below 15 min)
	$(PY) -m pytest tests -n 2 -m "not slow"
	$(call need,$(or $(wildcard tests/sim.py),tests/sim/__main__.py),the simulation)
	PYTHONHASHSEED=0 $(PY) -m tests.sim --count $(SIM_COUNT)

sim: venv ## one seeded cluster run (SEED=n), or a batch of random ones
	$(call need,$(or $(wildcard tests/sim.py),tests/sim/__main__.py),the simulation)
	PYTHONHASHSEED=0 $(PY) -m tests.sim $(if $(SEED),--seed $(SEED),--count $(SIM_COUNT))

faults: venv deb ## crash at every boundary, power cuts, I/O errors, bit flips: the long form
	$(call need,$(firstword $(wildcard tests/fault/test_*.py) tests/fault/test_*.py),the fault suite)
	$(PY) -m pytest tests/fault --timeout 3600

matrix: venv ## requirement, adversary, attack → tests; writes docs/requirements.md and docs/security-tests.md
	$(PY) -m tests.attacks
	$(PY) -m tests.requirements

canaries: venv deb ## the suites once more: each test fails in which a key in use is told (TESTS=…)
	$(PY) -m pytest --canaries -n 2 -m "not slow" $(or $(TESTS),tests)

mutations: venv deb ## plant bugs one at a time and see that tests fail (NAMES=…, else all)
	$(call need,tests/mutations/__main__.py,the planted bugs)
	$(PY) -m tests.mutations $(NAMES)

fuzz: venv ## any bytes at what reads clients' bytes, guided by coverage (SECONDS=60 each, TARGETS=…)
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/fuzz/pins.txt
	$(PY) -m tests.fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

acceptance: venv deb ## the real-clients drill
	$(call need,tests/acceptance/run.py,the acceptance drill)
	$(PY) -m tests.acceptance.run --report docs/acceptance.md

sovereignty: venv deb ## keys in a token, rotation, residency, journal, statement, erasure: the drill
	$(call need,tests/acceptance/sovereignty.py,the sovereignty drill)
	@.ci/debs faketime softhsm2
	$(PY) -m tests.acceptance.sovereignty --report docs/sovereignty.md

clients: venv deb ## real S3 clients, each with its task (NAMES=…, else all; writes docs/clients.md)
	$(call need,tests/clients/__main__.py,the clients run)
	@.ci/debs curl util-linux $$($(PY) -m tests.clients --packages)
	$(PY) -m tests.clients $(NAMES)

conformance: venv ## a public S3 suite (SUITE=git path; EXTENDED=1, GROW=1, JUDGE_FLAGS=…)
	$(call need,tests/conformance/s3/judge/__main__.py,the S3 conformance run)
	@test -n "$(SUITE)" || { echo "make conformance SUITE=path of a git copy of ceph/s3-tests" >&2; exit 2; }
	@mkdir -p .cache
	$(PY) -m tests.conformance.s3.judge --suite $(abspath $(SUITE)) -n 4 --failures \
	  --json .cache/conformance.json --passing tests/conformance/s3/passing.txt $(if $(GROW),--grow) \
	  --tier core $(if $(EXTENDED),--tier extended $(OTHER_SERVICES)) $(JUDGE_FLAGS)

bench: compiled ## microbenchmarks, end to end, ceilings
	$(call need,bench/__main__.py,the bench)
	$(PY) -m bench

bench-check: compiled ## what moved since bench/baseline.json (SHORT=1: a minute, as CI does)
	$(call need,bench/check.py,the bench check)
	$(PY) -m bench.check $(if $(SHORT),--short)

$(PLOTS): requirements-bench.lock $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

compare: $(PLOTS) compiled ## Hexagone and the peers on PATH, the same load in turns (FLAGS=--quick, OUT=folder)
	$(call need,bench/compare/__main__.py,the comparison)
	$(PY) -m bench.compare --out $(or $(OUT),.cache/compare) $(FLAGS)

profile: compiled ## µs by layer, flame graph, bytes copied (CASE=name; PROCESSES=1)
	$(call need,bench/profile.py,the profile)
	@test -n "$(CASE)" || { echo "make profile CASE=name" >&2; exit 2; }
	$(PY) -m bench.profile $(CASE) $(if $(PROCESSES),--processes)

lock: ## write requirements.lock and that of `make compare` anew from pyproject.toml (needs uv)
	$(UV_LOCK) --extra dev pyproject.toml -o requirements.lock
	$(UV_LOCK) --group pyproject.toml:bench --constraint requirements.lock -o requirements-bench.lock

sbom: venv ## what it is made of: docs/dependencies.md, docs/cryptography.md, docs/sbom.json, docs/cbom.json
	$(PY) -m tests.supply

wheelhouse: venv ## files to build and install from without a network (OUT=folder)
	$(PY) -m tests.supply.wheelhouse $(or $(OUT),.cache/wheelhouse)

promtool: $(PROMTOOL) ## what parses and fires our alerts in their tests, out of Debian's package `prometheus`

# Unpacked and not installed: the package would start a server.
$(PROMTOOL):
	@mkdir -p .cache/promtool
	cd .cache/promtool && { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; } && \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool && rm prometheus_*.deb

hook: ## run `make check` before each commit in this clone
	@hook="$$(git rev-parse --git-path hooks)/pre-commit"; \
	test ! -e "$$hook" || { echo "$$hook is there already; left as it is" >&2; exit 2; }; \
	install -D -m 755 .ci/pre-commit "$$hook"
