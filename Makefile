# make demo: environment, mini dataset, training and evaluation of stock and FFC models, table and pictures
# make test: environment, mini dataset, the test suite (PYTEST_ARGS='-m slow' for the long ones)
# make bench: what FFC costs in time and memory, about 10 minutes (BENCH_ARGS=--quick for a test of the tool)
.PHONY: help demo test bench lint env

VENV := $(or $(VENV),.venv)
PYTEST_ARGS ?= -m "not slow"

help:
	@head -3 Makefile

demo: env
	"$(VENV)/bin/python" tools/demo.py

test: env
	"$(VENV)/bin/python" -m pytest $(PYTEST_ARGS)

bench: env
	"$(VENV)/bin/python" -W ignore -m benchmarks $(BENCH_ARGS)

lint: env
	"$(VENV)/bin/ruff" check .

env:
	@tools/setup_env.sh "$(VENV)"
