# make demo | test | lint | format | bench | chaos | test-long | clean, with Python 3.11 or newer and make.
# The first of them makes .venv; to use another Python or uv: make test PY=python3.12 UV=/path/to/uv
# make bench runs all benchmarks (half an hour); make bench NAMES='job decode' ARGS=--quick: some.
# make test PROCESSES=2 takes less memory and more time; each of its processes needs 4 GB.
# make chaos ROUNDS=50 SEED=7 kills jobs that often; without them, 5 times and at random.
# make test-long MINUTES=20 makes up many more requests and kills, and begins none after 20 minutes.

PY ?= python3
UV ?= $(shell command -v uv 2>/dev/null)
VENV := .venv
BIN := $(VENV)/bin
BENCH ?= build/benchmarks
PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest -q
SIDE_BY_SIDE = -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder --slowest-files 15
MITMPROXY := $(VENV)/mitmproxy
MITMPROXY_VERSION := 11.0.2
PERF_ANALYZER := $(VENV)/perf_analyzer
PERF_ANALYZER_PACKAGES := tritonclient==2.51.0 nvidia-cuda-runtime-cu12==12.9.79

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long lint format bench chaos clean

help:
	@sed -n 's/^# *//p' Makefile | head -6

demo: $(VENV)/.ready
	$(BIN)/labelmill demo

test: $(VENV)/.ready $(MITMPROXY)/.ready $(PERF_ANALYZER)/.ready
	$(PYTEST) $(SIDE_BY_SIDE)

test-long: $(VENV)/.ready $(MITMPROXY)/.ready
	$(PYTEST) $(SIDE_BY_SIDE) -m long --long $(if $(MINUTES),--minutes $(MINUTES))

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready
	@mkdir -p $(dir $(BENCH))
	$(BIN)/python -m tests.benchmarks $(NAMES) $(ARGS) --json $(BENCH).json --chart $(BENCH).svg

chaos: $(VENV)/.ready
	CHAOS_ROUNDS=$(or $(ROUNDS),5) CHAOS_SEED=$(SEED) $(PYTEST) -s tests/chaos/test_kills.py

# All but .venv, which takes minutes to download again.
clean:
	rm -rf build dist demo-output .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# uv, since it picks builds of torch and torchvision that fit each other. Compiling once here spares
# every process of a job seconds of it.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "labelmill needs Python 3.11 or newer; '$(PY)' is: $$($(PY) --version 2>&1);" \
	    "name another one with: make PY=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PY) -m venv $(VENV)
	@uv="$(UV)"; \
	if [ -z "$$uv" ]; then \
	  uv=$(BIN)/uv; \
	  test -x "$$uv" || $(BIN)/python -m pip install --quiet uv; \
	fi; \
	set -x; "$$uv" pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

# For tests/chaos, in an environment of its own: it pins much of what it needs to other versions than ours.
$(MITMPROXY)/.ready: $(VENV)/.ready Makefile
	@uv="$(UV)"; uv="$${uv:-$(BIN)/uv}"; \
	set -x; "$$uv" venv --quiet --clear --python $(BIN)/python $(MITMPROXY) && \
	"$$uv" pip install --quiet --python $(MITMPROXY)/bin/python mitmproxy==$(MITMPROXY_VERSION)
	@touch $@

# For tests/serving: the last tritonclient whose perf_analyzer runs on Debian 12, and a library it wants.
$(PERF_ANALYZER)/.ready: $(VENV)/.ready Makefile
	@uv="$(UV)"; uv="$${uv:-$(BIN)/uv}"; \
	set -x; "$$uv" venv --quiet --clear --python $(BIN)/python $(PERF_ANALYZER) && { \
	"$$uv" pip install --quiet --no-deps --python $(PERF_ANALYZER)/bin/python $(PERF_ANALYZER_PACKAGES) || \
	echo "no perf_analyzer for this platform: its tests will be skipped"; }
	@touch $@
