# One command each. Every target makes .venv by itself when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
MLFLOW := build/mlflow/$(notdir $(BIN))
AXE := tests/serving/node_modules/axe-core/axe.min.js

.PHONY: demo serve test slow readers check setup docs pictures site clean

demo: $(READY)  ## run the main job end to end on synthetic cells; ends with the path of report.html
	$(BIN)/diascope demo

serve: $(READY)  ## serve the network of the demo, which is trained first if there is none
	test -f runs/demo/bundle/card.json || $(BIN)/diascope demo
	$(BIN)/diascope serve runs/demo

test: $(READY)  ## run the fast tests
	$(PYTEST)

slow: $(READY) $(AXE)  ## run the longer tests; with DIASCOPE_TEST_DATA also those on real images
	OMP_NUM_THREADS=1 DIASCOPE_TEST_MLFLOW="$${DIASCOPE_TEST_MLFLOW:-$(abspath $(wildcard $(MLFLOW)/mlflow))}" \
	$(PYTEST) --no-loadscope-reorder -m slow

readers: $(READY)  ## install for the longer tests other people's readers of DICOM and MONAI, and a server of MLflow; Debian's as root only
	$(BIN)/python -m pip install --quiet --editable '.[readers]' --constraint constraints.txt || echo "No readers from PyPI: what they judge is skipped"
	test -x $(MLFLOW)/mlflow || { $(PYTHON) -m venv build/mlflow && timeout 600 $(MLFLOW)/python -m pip install --quiet mlflow==3.17.2; } || \
	{ rm -rf build/mlflow; echo "No server of MLflow: what it judges is skipped"; }
	apt-get update -qq && apt-get install -y -qq dcmtk orthanc orthanc-dicomweb postgresql || echo "No readers of Debian: what they judge is skipped"

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright

docs: $(READY)  ## write what the pages take from the code and from the results
	$(BIN)/python docs/refresh.py
	$(BIN)/python examples/notebooks.py
	$(BIN)/python benchmarks/page.py
	$(BIN)/python -m benchmarks.costs --write

pictures: $(READY)  ## make the pictures of the pages that are old anew, from the commit that is checked out; needs Chromium
	$(BIN)/python docs/pictures.py

site: $(READY)  ## build the pages and the API as HTML in build/site; a broken link fails
	$(BIN)/sphinx-build -q -W --keep-going -c docs/site -d build/doctrees . build/site

setup: $(READY)  ## make .venv with everything, and the commit hooks
	$(BIN)/pre-commit install

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $(READY)

$(AXE): tests/serving/package.json
	npm install --prefix tests/serving --no-package-lock --ignore-scripts --no-audit --no-fund && touch $@ || echo "No axe-core: what it tests is skipped"

clean:  ## remove .venv and caches; runs and data stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
