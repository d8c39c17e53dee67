# make demo: environment, mini dataset, training and evaluation of stock and FFC models, table, pictures and report
# make test: environment, mini dataset, the test suite (PYTEST_ARGS='-m "not slow"' for CI's)
# make bench: what FFC costs in time and memory, about 10 minutes (BENCH_ARGS=--quick for a test of the tool)
# make evidence: does FFC help? hundreds of short trainings, hours; see docs/background/evidence.md
# make docs: the documentation as a site, in site/ (DOCS=serve: at http://127.0.0.1:8000, rebuilt at every change)
.PHONY: help demo test bench evidence lint docs env

VENV := $(or $(VENV),.venv)
PYTEST_ARGS ?= -m "not slow and not ci"
# Test files run side by side, a thread each: most of their time is start-up, which more threads do not shorten.
TEST_PROCESSES ?= 2

help:
	@head -5 Makefile

demo: env
	"$(VENV)/bin/python" tools/demo.py

test: env
	OMP_NUM_THREADS=1 "$(VENV)/bin/python" -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

bench: env
	"$(VENV)/bin/python" -W ignore -m benchmarks $(BENCH_ARGS)

evidence: env
	"$(VENV)/bin/python" -W ignore -m evidence $(EVIDENCE_ARGS)

lint: env
	"$(VENV)/bin/ruff" check .
	"$(VENV)/bin/ruff" format --check .
	"$(VENV)/bin/mypy"

docs: env
	"$(VENV)/bin/python" -W ignore tools/docs_reference.py
	NO_MKDOCS_2_WARNING=1 "$(VENV)/bin/python" -m mkdocs $(or $(DOCS),build) --strict

env:
	@tools/setup_env.sh "$(VENV)"
