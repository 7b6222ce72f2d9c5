# One command each. Every target makes .venv by itself when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test slow check setup docs clean

demo: $(READY)  ## run the main job end to end on drawn cells; ends with the path of report.html
	$(BIN)/diascope demo

test: $(READY)  ## run the fast tests
	$(BIN)/python -m pytest

slow: $(READY)  ## run the longer tests; with DIASCOPE_TEST_DATA also those on real images
	$(BIN)/python -m pytest -m slow

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright

docs: $(READY)  ## write the generated part of the documentation
	$(BIN)/python docs/refresh.py

setup: $(READY)  ## make .venv with everything, and the commit hooks
	$(BIN)/pre-commit install

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $(READY)

clean:  ## remove .venv and caches; runs and data stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
