# Two commands: `make demo` moves a real language model onto better tokens, `make test` runs the suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test coverage lint bench clean
demo: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/tokenry adapt --demo --out out/demo --overwrite --resume

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal -m "not slow"

coverage: $(VENV)/.installed
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "not slow" --cov=tokenry --cov-report=term:skip-covered

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python bench/omp.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/train_bpe.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/counting.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/mixture.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/audit.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/adapt.py

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[dev]' -c constraints.txt
	touch $@

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache .hypothesis
