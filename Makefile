# `make run` and `make test` do all the set-up themselves; a second call with nothing changed installs nothing.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: run test install lint types unit clean

run: install
	$(BIN)/fmnist-search run --or-synthetic $(ARGS)

test: lint types unit

install: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	$(BIN)/pytest -n 2

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
