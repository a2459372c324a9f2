# `make run` and `make test` do all the set-up themselves; a second call with nothing changed installs nothing.
PYTHON ?= python3
BIN := .venv/bin
# Python compiles what it imports; compiling all of PyTorch takes a third of the installation.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
ARGS ?=

.PHONY: run check test install lint types unit lowest benchmark-test browser-test chromium screenshots docs clean

run: .venv/.runs
	$(BIN)/fmnist-search run --or-synthetic $(ARGS)

# What is quick enough to run after every change: no test that starts a process, a server or a browser.
check: lint types
	$(BIN)/pytest -q -n 3 --dist worksteal -m "not (process or slow or gpu or browser or cluster or real_data)"

test: lint types unit

# What `make run` needs; what was made for development has it.
.venv/.runs: pyproject.toml
	@echo "Installing the package into .venv; PyTorch is large, so this takes some minutes."
	@$(PYTHON) -m venv .venv
	@$(PIP) -e .
	@touch $@

install: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[dev]'
	touch .venv/.runs $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	$(BIN)/pytest -n 3 --dist worksteal -m "not benchmark and not ray"
	$(BIN)/pytest -m ray  # one at a time on a machine: side by side they would wait for each other

# The scripts of benchmarks/, run small: after a change to them or to what they call.
benchmark-test: install
	$(BIN)/pytest -n 2 --dist worksteal -m benchmark

# The core tests on the lowest versions that pyproject.toml allows, in an environment of their own; what those need is the newest there
# is. The extras are not in it, nor the drivers of database servers.
LOWEST := .venv/lowest
CORE := $(addprefix tests/fmnist/,network test_train.py test_checkpoint.py test_metrics.py test_onnx_file.py test_snapshot.py) \
	$(addprefix tests/fmnist/data/,test_tables.py test_tables_files.py test_tables_parquet.py test_pictures.py) \
	$(addprefix tests/search/,samplers/test_gp.py samplers/test_tpe.py study/test_space.py study/test_spec.py study/test_study.py) \
	$(addprefix tests/search/,job/test_search.py export/test_export.py report/lists report/page storage/test_opening.py storage/test_own_trials.py)
lowest: install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --python $(BIN)/python --output-file $(LOWEST)/versions.txt pyproject.toml
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python -r $(LOWEST)/versions.txt pytest pytest-xdist hypothesis
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps -e .
	$(LOWEST)/bin/pytest -n 2 -m "not slow" -k "not server" $(CORE)

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

# The pages of docs/ as a site, site/index.html. A broken link or anchor is an error. The variable stops Material's news.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:
	rm -rf site .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
