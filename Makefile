# Needs Python 3.11 or newer, make and git; no compiler. `make demo PYTHON=python3.12` chooses another Python.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help demo test fuzz lint types clean

help:
	@echo "make demo    install into $(VENV) and run the demo: 5,000 documents, searched by meaning"
	@echo "make test    run the tests"
	@echo "make fuzz    schemathesis over the server's interface, for five minutes"
	@echo "make lint    ruff"
	@echo "make types   mypy"
	@echo "make clean   remove $(VENV) and everything that was built"

demo: $(VENV)/installed
	@$(BIN)/python -m vsearch demo

test: $(VENV)/installed-dev
	@$(BIN)/python -m vsearch warmup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.fuzz --seconds 300

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

# Stamps: pip runs again only when the dependencies may have changed. The install is editable, so edits need no install.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vsearch needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "Installing vsearch and its dependencies into $(VENV) (500 MB, once)"
	@$(PIP) install -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing vsearch and the development tools into $(VENV) (once)"
	@$(PIP) install -e '.[dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
