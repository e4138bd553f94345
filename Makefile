# make demo: install and run the example. make test: install, then every check and test. Both work in a fresh clone.
# make quick: a cross-section of the tests in about a minute, for use while working.
# make grammar: the tables of a changed grammar.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS ?=
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt
TESTS := $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
TYPES := $(BIN)/pyright --pythonpath $(BIN)/python
DEPENDENCIES := pyproject.toml constraints.txt

# Waiting OpenMP threads of torch would otherwise spin and slow everything else down.
export OMP_WAIT_POLICY := PASSIVE
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Tests that take most of the time, by file and by area of the recorded answers; `make quick` leaves them out.
LONG := across aggregates bad_input bridge compiled context demand elimination embedded entities environments \
	evaluate exact examples fuzz gradients laws metamorphic nn proof_sets proofs provenances reasoner samples \
	selections sparse tensors torch_citizen trainable
LONG_AREAS := disputed/cases exclusive forward prob_aggregation prob_negation probability tasks

.PHONY: demo test quick check style nightly bench grammar

demo: .venv/.examples
	$(BIN)/python examples/digit_sum_torch.py

# Types are checked beside the tests, which leave a part of the processors idle, and are told after them.
test: style
	@told=$$(mktemp); $(TYPES) >"$$told" 2>&1 & types=$$!; \
	$(TESTS); tests=$$?; \
	wait $$types; types=$$?; \
	echo "$(TYPES)"; cat "$$told"; rm "$$told"; exit $$((tests | types))

quick: .venv/.dev
	$(TESTS) \
		$(filter-out $(addsuffix .py,$(addprefix %/test_,$(LONG))),$(wildcard tests/test_*.py tests/*/test_*.py)) \
		$(LONG_AREAS:%='--deselect=tests/test_conformance.py::test_area[%.json]')

check: style
	$(TYPES)

style: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

nightly: .venv/.dev
	XLA_FLAGS= $(BIN)/python -m pytest -m nightly --timeout 7200

bench: .venv/.examples
	$(BIN)/python -m benchmarks.steps
	$(BIN)/python -m benchmarks.first

grammar: .venv/.dev
	$(BIN)/python -m scallax.syntax.make_grammar

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.examples: $(DEPENDENCIES) | .venv/bin/python
	$(INSTALL) -e '.[examples]'
	touch $@

.venv/.dev: $(DEPENDENCIES) | .venv/bin/python
	$(INSTALL) -e '.[dev,all]'
	touch $@ .venv/.examples
