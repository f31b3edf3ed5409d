# Needs Python 3.11 with pip and venv; everything else is installed into .venv at the versions pinned in requirements/.

PYTHON ?= python3.11
# Two test processes: TensorFlow is itself threaded, and importing it costs every process seconds.
WORKERS ?= 2

BIN := .venv/bin
PEERS := .venv/peers/bin
EMPTY := build/empty
# Folders too, so that a removed file counts as a change.
SOURCES := setup.py pyproject.toml MANIFEST.in README.md LICENSE $(shell find tfopt custom_ops -not -path '*/__pycache__*')

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3
# What is on PYTHONPATH would hide the installed wheel.
unexport PYTHONPATH PYTHONHOME

# The suite sees the installed wheel only: it runs in an empty folder, and pytest puts no folder on the path.
PYTEST = rm -rf $(EMPTY) && mkdir -p $(EMPTY) && cd $(EMPTY) && TFOPT_INSTALLED=1 "$(CURDIR)/$(BIN)/pytest" \
	-c "$(CURDIR)/pyproject.toml" -n $(WORKERS) --doctest-modules $(PYTEST_ARGS)
SUITE = --pyargs tfopt "$(CURDIR)/tests"

# pip must not run twice in one environment.
.NOTPARALLEL:
.PHONY: help demo gallery test test-all bench bench-peers lint format bazel clean distclean

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.tfopt  ## Compare every optimizer on 5,000 handwritten digits; the page is demo/index.html.
	$(BIN)/tfopt compare --output demo $(DEMO_ARGS)

gallery: .venv/.tfopt  ## Draw the chapter's pictures anew, into docs/figures.
	$(BIN)/python examples/chapter --output docs/figures

test: lint .venv/.tfopt  ## Lint, build and install the wheel, test it from an empty folder.
	$(PYTEST) -m "not slow" $(SUITE)

test-all: lint .venv/.tfopt .venv/tpu/.created  ## The same with the slow tests, those of TPU programs among them.
	export TFOPT_TPU_PYTHON="$(CURDIR)/.venv/tpu/bin/python" && $(PYTEST) $(SUITE)

bench: .venv/.tfopt  ## Measure update steps beside Keras'; the tables go to benchmarks/README.md.
	$(BIN)/python benchmarks $(BENCH_ARGS)

bench-peers: .venv/peers/.tfopt  ## Layers, Adam and L-BFGS beside other libraries', in an environment of their own.
	$(PEERS)/python benchmarks $(or $(BENCH_ARGS),normalization peers direction_methods evaluations_to_target)

lint: .venv/.dev  ## Style, docstrings, types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev  ## Write the style instead of checking it.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bazel: .venv/.dev  ## Build and test every Bazel target with .venv's Python.
	PATH="$(CURDIR)/$(BIN):$$PATH" bazel test //...

clean:  ## Remove what was built.
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find tfopt tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## Remove the environment and the demo's results as well.
	rm -rf .venv demo

.venv/.created:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.demo: requirements/demo.txt .venv/.created
	$(BIN)/pip install --quiet -r $<
	touch $@

.venv/.dev: requirements/dev.txt .venv/.demo
	$(BIN)/pip install --quiet -r $<
	touch $@

# setuptools keeps removed modules in build/ and would pack them again.
.venv/.tfopt: $(SOURCES) .venv/.demo
	rm -rf build/lib* build/bdist.* dist *.egg-info
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	$(BIN)/pip install --quiet --no-deps --no-index --force-reinstall dist/*.whl
	touch $@

# The compiler for TPUs wants versions of its own.
.venv/tpu/.created: requirements/tpu.txt .venv/.created
	test -d .venv/tpu/bin || $(PYTHON) -m venv .venv/tpu
	.venv/tpu/bin/pip install --quiet -r $<
	touch $@

# One environment for all that is compared, which the tests never see.
.venv/peers/.tfopt: requirements/peers.txt .venv/.tfopt
	test -d $(PEERS) || $(PYTHON) -m venv .venv/peers
	$(PEERS)/pip install --quiet -r $<
	$(PEERS)/pip install --quiet --no-deps --no-index --force-reinstall dist/*.whl
	touch $@
