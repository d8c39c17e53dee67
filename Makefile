# make demo: environment, mini dataset, training and evaluation of stock and FFC models, table and pictures
# make test: environment, mini dataset, the test suite (PYTEST_ARGS='-m slow' for the long ones)
.PHONY: help demo test lint env

VENV := $(or $(VENV),.venv)
PYTEST_ARGS ?= -m "not slow"

help:
	@head -2 Makefile

demo: env
	"$(VENV)/bin/python" tools/demo.py

test: env
	"$(VENV)/bin/python" -m pytest $(PYTEST_ARGS)

lint: env
	"$(VENV)/bin/ruff" check .

env:
	@tools/setup_env.sh "$(VENV)"
