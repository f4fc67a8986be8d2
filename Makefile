# make demo   from a Pixi workspace to two finished GPU jobs, on a cluster that this machine brings up for it
# make test   the tests, against real daemons
# make lint   ruff, mypy, shellcheck of what we render
# make bench  how fast, side by side with the bare tools
# make clean  take the lab down and remove what was made here
#
# Needs Debian or Ubuntu, root, Python 3.11 or later. What else is missing is installed from the system's own packages,
# and said.

PYTHON ?= python3
VENV := .venv
HPCDEPLOY := $(CURDIR)/$(VENV)/bin/hpcdeploy

.PHONY: demo test lint bench clean

demo: $(VENV)/installed
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash examples/demo.sh

test: $(VENV)/developing
	@sh tests/packages.sh
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(VENV)/developing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/developing
	@sh tests/packages.sh
	$(VENV)/bin/python -m bench $(ARGS)

clean:
	@[ ! -x "$(HPCDEPLOY)" ] || "$(HPCDEPLOY)" lab down
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "python3-venv is missing; installing it"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/developing: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed
