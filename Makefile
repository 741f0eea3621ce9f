# make reproduce: the quick reproduction on the embedded sandbox.  make test: lint and all tests.  make lab: JupyterLab.  make docs: the site.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce test lab lint notebooks docs setup clean

reproduce: setup
	$(BIN)/python -m mentor_kd reproduce

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not alone"
	$(BIN)/python -m pytest -m alone

lab: setup
	$(BIN)/jupyter lab notebooks/00_tour.ipynb

# execute every notebook with the quick run's results and keep clean outputs, for a commit
notebooks: reproduce
	set -e; for book in notebooks/*.ipynb notebooks/solutions/*.ipynb; do \
	  $(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace --coalesce-streams \
	    --ExecutePreprocessor.store_widget_state=False --ClearMetadataPreprocessor.clear_notebook_metadata=False \
	    --ClearMetadataPreprocessor.enabled=True --ClearMetadataPreprocessor.preserve_cell_metadata_mask tags $$book; \
	done

# the documentation as a static site in build/site
docs: setup
	$(BIN)/python docs/build_site.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %s; run make PYTHON=python3.12" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
