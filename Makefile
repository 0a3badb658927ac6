PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check older-kernel notebooks docs clean

demo:  ## install, pull the default model, execute the quickstart notebook
	@$(PYTHON) scripts/environment.py .venv ".[max,notebook]"
	@$(BIN)/python scripts/demo.py

check:  ## linters, types and unit tests
	@$(PYTHON) scripts/environment.py .venv ".[max,llamacpp,notebook,test]"
	@scripts/check.sh

test:  ## everything, with real engines
	@$(PYTHON) scripts/environment.py .venv ".[max,llamacpp,notebook,test]"
	@scripts/test.sh

older-kernel:  ## the tests with kernels, on ipykernel 6.31
	@scripts/older_kernel.sh

notebooks:  ## execute the notebooks and store their outputs
	@$(PYTHON) scripts/environment.py .venv ".[max,notebook]"
	@scripts/clients.sh
	@$(BIN)/python scripts/notebooks.py --write

docs:  ## write the pages that are generated from the code
	@$(BIN)/python scripts/make_docs.py
	@$(BIN)/python scripts/compatibility.py

clean:
	rm -rf .venv .venv-clients .venv-kernel6 .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
