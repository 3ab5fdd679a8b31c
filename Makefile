# Fairway. `make demo` and `make test` set everything up on a fresh machine with Python 3.11 or newer.
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

.PHONY: demo demo-gpu test soak check format bench setup clean
.DEFAULT_GOAL := help

help:                       ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)             ## make .venv with the exact versions of constraints.txt; nothing the second time

# The requirements are read from pyproject.toml: nothing is installed as a package, Fairway runs from its checkout.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fairway needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print("\n".join(p["dependencies"] + p["optional-dependencies"]["dev"]))' > $(VENV)/requirements.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt -c constraints.txt
	touch $@

demo: $(STAMP)              ## the main job on this machine, no GPU needed: three seeds, five arms, a report
	$(RUN) -m platform.launch recipes/leaky_cosine.yaml --seeds 3 --scale laptop

demo-gpu: $(STAMP)          ## the same on one GPU, the full model: two seeds, five arms, no download
	$(RUN) -m platform.launch recipes/leaky_cosine.yaml --seeds 2 --scale one_gpu_quick

test: $(STAMP)              ## all tests but the slow ones
	$(RUN) -m pytest -m "not soak" -n 3 --dist loadfile --no-loadscope-reorder

soak: $(STAMP)              ## the slow tests too
	$(RUN) -m pytest

# mypy refuses a top-level module with a standard library name; under another name the same files check.
check: $(STAMP)             ## style and types: run before every commit
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	mkdir -p .mypy && ln -sfn ../platform .mypy/fairway && ln -sfn ../jobs .mypy/jobs
	cd .mypy && ../$(VENV)/bin/mypy --config-file ../pyproject.toml -p fairway -p jobs

format: $(STAMP)            ## let ruff lay out the code
	$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

bench: $(STAMP)             ## the speed figures of docs/measured.md
	$(RUN) -m tests.benchmarks

clean:                      ## remove what was installed and cached; runs/ and data/ stay
	rm -rf $(VENV) .mypy .mypy_cache .ruff_cache .pytest_cache
