# The one list of commands. `run` and `test` do all their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast browser check weights bench screenshots clean

run: $(VENV)/run-ready
	$(BIN)/streamlit run app.py

# Browsers need the second core; all else is shared out over two processes.
test: check
	$(BIN)/pytest -m browser tests/app
	$(BIN)/pytest -m "not browser" --numprocesses 2 --dist loadfile

check: $(VENV)/dev-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

weights: $(VENV)/run-ready
	$(BIN)/python -m pretrained.build

bench: $(VENV)/dev-ready
	$(BIN)/python -m benchmarks

screenshots: $(VENV)/dev-ready
	$(BIN)/python -m scripts.screenshots

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run-ready: requirements.txt | $(BIN)/python
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/dev-ready: requirements-dev.txt requirements-ray.txt $(VENV)/run-ready
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@
