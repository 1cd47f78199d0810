# make demo    from handwritten digits to a trained, scored and evaluated network, on this machine
# make test    everything that must hold before a commit lands
# Both set themselves up in VENV; VENV=path shares one environment (5.5 GB with torch) between checkouts.

VENV ?= .venv
PYTHON ?= python3
OUTPUT ?= runs/demo
BIN := $(abspath $(VENV))/bin
STAMP := $(abspath $(VENV))/.set_up$(subst /,_,$(CURDIR))
export PYTHONPATH := $(CURDIR)/src

.PHONY: demo digits test check setup clean

demo: setup digits
	@rm -rf $(OUTPUT)
	@$(BIN)/designer-vision run pipelines/train_and_score.yaml --output_dir $(OUTPUT)

digits: setup
	@$(BIN)/python pipelines/digits.py pipelines/digits

test: setup check
	$(BIN)/pytest -rs

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/pip || { echo "making the environment $(VENV) (some minutes, 5.5 GB)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[azure,dev]"
	@touch $@

clean:
	rm -rf .venv runs pipelines/digits
