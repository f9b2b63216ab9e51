# One virtual environment, made by whoever needs it first; `make clean` takes it away.
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# Most modules that come along are never imported; those that are, Python compiles when it first does. What setuptools
# warns of, of every editable installation, is nothing that anybody here could mend.
INSTALL := PYTHONWARNINGS=ignore::UserWarning $(PIP) install --no-compile

# Tests and demo start hundreds of interpreters: without cached bytecode each compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types unit guards bench soak fuzz deep models clean

demo: $(VENV)/.demo  ## 30 small models trained in parallel, through all of logferry
	@$(BIN)/logferry demo

test: lint types unit guards  ## everything that CI runs

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy tests/typing/api.py

unit: $(VENV)/.dev
	$(BIN)/pytest -q -n 4 --maxschedchunk 2 -m "not guard"

guards: $(VENV)/.dev  ## ratios of times, alone on the machine
	$(BIN)/pytest -q -m guard

bench: $(VENV)/.dev $(VENV)-peers/.peers  ## the figures of bench/README.md; GROUPS="calls peers" for some of them
	$(BIN)/python bench/bench.py --peers $(VENV)-peers/bin/python --debian $(VENV)-peers/debian --json bench.json $(GROUPS)

soak: $(VENV)/.dev  ## ten minutes of killing everything, then an oracle; SECONDS= and SEED= to repeat one
	$(BIN)/python tests/soak/soak.py --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.dev  ## a million mutated inputs; INPUTS= for fewer, SEED= to repeat one
	$(BIN)/python tests/fuzz/fuzz.py --inputs $(or $(INPUTS),1000000) $(if $(SEED),--seed $(SEED))

deep: $(VENV)/.dev  ## every test at its full size, without the models; TESTS_FACTOR= times as many examples
	TESTS=deep $(BIN)/pytest -q --timeout 7200 -m "not guard" --ignore tests/models

models: $(VENV)/.dev  ## the state machines and crashes at every step, deep; TESTS_FACTOR= times as many examples
	TESTS=deep $(BIN)/pytest -q --timeout 7200 tests/models

# A pip that came with Python may be years old, and takes three times as long to find the same packages.
$(VENV)/.base:
	python3 -m venv --upgrade-deps $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/.base
	$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.base
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

# Other loggers, in an environment of their own; one that cannot be installed is said by the bench.
$(VENV)-peers/.peers: bench/peers.txt bench/debian-peers
	python3 -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip --disable-pip-version-check --quiet install --editable '.[agent]' numpy
	@grep -v '^#' bench/peers.txt | while read -r peer; do \
	  $(VENV)-peers/bin/pip --disable-pip-version-check --quiet install $$peer || echo "not installed: $$peer"; done
	bench/debian-peers $(VENV)-peers/debian
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers bench.json build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
