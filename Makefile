# Two commands: `make run` and `make test`. Both make .venv when it is missing.
.DELETE_ON_ERROR:
.PHONY: run test test-all lint bench bench-all data docs clean

VENV := .venv
PYTHON := $(VENV)/bin/python
ARGUMENTS ?=
# One process per core; a file stays in one process, so that its fixtures are made once.
PARALLEL ?= -n 2 --dist loadfile
# Tests and benchmarks start Python many times: it keeps what it has compiled, whatever the environment says.
test test-all bench bench-all: export PYTHONDONTWRITEBYTECODE :=
# One thread in each of the test processes: more would wait for each other, spinning.
test test-all: export NUMBA_NUM_THREADS ?= 1
test test-all: export OPENBLAS_NUM_THREADS ?= 1

run: $(VENV)/.installed
	$(VENV)/bin/bayesnu run dune-on-axis $(ARGUMENTS)

test: $(VENV)/.installed
	$(PYTHON) -m pytest -m "not slow and not browser" $(PARALLEL) $(ARGUMENTS)

test-all: $(VENV)/.docs
	$(PYTHON) -m pytest $(PARALLEL) $(ARGUMENTS)

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	for folder in analyses/transition_moments_cevns analyses/dirac_vs_majorana analyses/calibration analyses/coverage analyses/prism_correlations analyses/assumptions docs; do \
		(cd $$folder && $(CURDIR)/$(VENV)/bin/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache *.py) || exit 1; done
	$(VENV)/bin/lint-imports

# bayesnu beside its peers, which are installed when it is first made; writes benchmarks/RESULTS.md.
bench: $(VENV)/.bench
	$(PYTHON) -m benchmarks.run $(ARGUMENTS)

# The same with five goes of what takes longer than 10 s, too.
bench-all: $(VENV)/.bench
	$(PYTHON) -m benchmarks.run --all $(ARGUMENTS)

# The documentation, docs/_build/html/index.html; warnings are errors. What it needs is installed when it is first made.
docs: $(VENV)/.docs
	$(PYTHON) -m sphinx -W --keep-going --quiet -b html docs docs/_build/html $(ARGUMENTS)

# Write the computed data files, the prebuilt responses and the checksum manifest again.
data: $(VENV)/.installed
	$(PYTHON) analyses/dune_em_properties/make_data.py

clean:
	rm -rf $(VENV) build dist docs/_build docs/_generated

$(VENV)/.docs: $(VENV)/.installed
	@if uv --version >/dev/null 2>&1; then \
	  uv pip install --quiet --compile-bytecode --python $(PYTHON) -e '.[docs]'; \
	else \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[docs]'; \
	fi
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	@if uv --version >/dev/null 2>&1; then \
	  uv pip install --quiet --compile-bytecode --python $(PYTHON) -e '.[bench]'; \
	else \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[bench]'; \
	fi
	@touch $@

# The directory's own python3 (pyenv obeys .python-version) if it is new enough, then any other on the
# path, then uv. uv installs faster where it works; it does not compile bytecode unless told to.
$(VENV)/.installed: pyproject.toml
	@set -e; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 12))'; \
	if [ ! -x $(PYTHON) ]; then \
	  for python in python3 python3.13 python3.12 python3.14; do \
	    if "$$python" -c "$$new_enough" >/dev/null 2>&1; then "$$python" -m venv --clear $(VENV); break; fi; \
	  done; \
	  if [ ! -x $(PYTHON) ] && uv --version >/dev/null 2>&1; then uv venv --quiet --seed --python '>=3.12' $(VENV); fi; \
	  if [ ! -x $(PYTHON) ]; then \
	    echo "bayesnu needs Python 3.12 or newer: neither python3 nor uv here provides one; install it and run make again." >&2; \
	    exit 1; \
	  fi; \
	fi; \
	if uv --version >/dev/null 2>&1; then \
	  uv pip install --quiet --compile-bytecode --python $(PYTHON) -e '.[dev]'; \
	else \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi; \
	touch $@
