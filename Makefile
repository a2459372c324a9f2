# `make run` and `make test` do all the set-up themselves; a second call with nothing changed installs nothing.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: run test install lint types unit browser-test chromium screenshots clean

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

browser-test: install chromium
	$(BIN)/pytest -m browser

# The browser tests skip where no Chromium is; CHROMIUM names one that is elsewhere.
FIND_CHROMIUM := $(PYTHON) tests/browser/find_chromium.py >/dev/null
chromium:
	@$(FIND_CHROMIUM) || \
	{ [ -z "$$CHROMIUM" ] && command -v apt-get >/dev/null && SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo) && \
	$$SUDO apt-get update -q && $$SUDO apt-get install -y -q chromium && $(FIND_CHROMIUM); } || \
	{ echo "The browser tests need Chromium, and it could not be installed: install the package chromium (or Google Chrome)," \
	"or set CHROMIUM to the path of one$${CHROMIUM:+; there is none at $$CHROMIUM}." >&2; exit 1; }

# docs/*.png, of the study that `make run` made.
screenshots: install chromium
	PATH="$$PWD/$(BIN):$$PATH" PYTHONPATH=. $(BIN)/python docs/screenshots.py $(or $(ARGS),quick)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
