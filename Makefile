# make demo        from a Pixi workspace to two finished GPU jobs, on a cluster that this machine brings up for it
# make test        all tests, against real daemons (Slurm 24.11); of the broken submissions a share (see make test-once)
# make test-slurm RELEASE=26.05   every Slurm test on a lab with that release; 22.05: those that need no container
# make check       the inner loop: lint, types, and the tests that need no lab, no SSH server and no container engine, and are not slow
# make test-once   every broken submission: several hundred points that a seed chooses
# make test-registry   every fault on the way to a registry, of which make test runs a share; chosen by the same seed
# make test-fuzz   every parser of outside text with many damaged inputs (FUZZ=400 each); make test gives each 25
# make lint        ruff, mypy
# make bench       how fast, side by side with the bare tools
# make durations   keep the last run's durations: they order the next ones
# make clean       take the lab down and remove what was made here
#
# Needs Debian or Ubuntu, root, Python 3.11 or later. What else is missing is installed from the system's own packages,
# and named. ARGS goes to pytest: make test ARGS="tests/cluster -n 0".

PYTHON ?= python3
VENV := .venv
HPCDEPLOY := $(CURDIR)/$(VENV)/bin/hpcdeploy
# Where this is set, pytest cannot keep the test modules that it has rewritten, and each worker rewrites all of them anew.
unexport PYTHONDONTWRITEBYTECODE
QUICK := not lab and not registry and not sshd and not engine and not slow

.PHONY: demo test test-slurm check quick test-once test-registry test-fuzz lint style types bench site durations clean

demo: $(VENV)/installed
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash examples/demo.sh

test: $(VENV)/developing
	@sh tests/packages.sh
	HPCDEPLOY_LAB_SLURM= $(VENV)/bin/python -m pytest $(ARGS)

test-slurm: $(VENV)/developing
	@$(VENV)/bin/python -m tests.needs "$(RELEASE)" >/dev/null
	@sh tests/packages.sh
	HPCDEPLOY_LAB_SLURM=$(RELEASE) $(VENV)/bin/python -m pytest -m "$$($(VENV)/bin/python -m tests.needs $(RELEASE))" $(ARGS)

check: $(VENV)/developing
	@$(MAKE) --no-print-directory --jobs=3 style types quick

quick: $(VENV)/developing
	$(VENV)/bin/python -m pytest -m "$(QUICK)" --quiet --durations=5 --numprocesses=2 $(ARGS)

test-once: $(VENV)/developing
	@sh tests/packages.sh
	HPCDEPLOY_LAB_SLURM= HPCDEPLOY_POINTS=all $(VENV)/bin/python -m pytest tests/once $(ARGS)

test-registry: $(VENV)/developing
	@sh tests/packages.sh
	HPCDEPLOY_LAB_SLURM= HPCDEPLOY_POINTS=all $(VENV)/bin/python -m pytest tests/registry $(ARGS)

test-fuzz: $(VENV)/developing
	HPCDEPLOY_FUZZ=$(or $(FUZZ),400) $(VENV)/bin/python -m pytest tests/fuzz --numprocesses=0 $(ARGS)

lint: style types

style: $(VENV)/developing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/developing
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --platform darwin --cache-dir .mypy_cache/darwin hpcdeploy

bench: $(VENV)/developing
	@sh tests/packages.sh
	$(VENV)/bin/python -m bench $(ARGS)

site: $(VENV)/developing
	$(VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky docs build/site
	@echo "the site is build/site/index.html"

durations: $(VENV)/developing
	$(VENV)/bin/python -m tests.order

clean:
	@[ ! -x "$(HPCDEPLOY)" ] || "$(HPCDEPLOY)" lab down
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .last-run.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "python3-venv is missing; installing it"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml lab/pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable . --editable ./lab
	@touch $@

$(VENV)/developing: pyproject.toml lab/pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' --editable ./lab
	@touch $@ $(VENV)/installed
