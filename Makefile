# Two commands on a fresh checkout: `make demo` and `make test`.
PYTHON ?=
export PYTHON
JOBS ?= 2

FORMULAE = 0.6.0 0.6.2 0.7.0 0.8.0 0.9.0

.PHONY: demo test docs lessons check lint layout types floors install lock benchmarks formulae

demo:
	@bash .ci/bootstrap demo
	@.venv/bin/bayesmm compare "Reaction ~ Days + (Days | Subject)" --data sleepstudy --seed 1

test: install
	.venv/bin/python -m pytest -n $(JOBS) --dist worksteal

docs: install  # the site, in build/site/html; needs no network
	.venv/bin/python docs/sphinx/build.py

lessons: install  # the notebooks of examples/lessons, from the scripts beside them
	.venv/bin/python docs/sphinx/notebooks.py

check: lint layout types floors  # one hook of .pre-commit-config.yaml each

lint: install
	.venv/bin/ruff check .

layout: install
	.venv/bin/ruff format --check .

types: install
	.venv/bin/pyright

floors: install  # who may import whom
	.venv/bin/lint-imports

formulae: install  # the tests of formulas on every minor version of formulae that pyproject.toml allows
	for version in $(FORMULAE); do \
	  .venv/bin/python -m pip install --quiet --no-deps --upgrade --target .formulae/$$version formulae==$$version && \
	  PYTHONPATH=.formulae/$$version .venv/bin/python -m pytest -q tests/design tests/specification || exit 1; \
	done

benchmarks: install  # takes an hour and a half; see benchmarks/README.md for the rivals
	.venv/bin/python benchmarks/run_all.py
	.venv/bin/python benchmarks/table.py benchmarks/results.jsonl --into docs/performance.md

install:
	@bash .ci/bootstrap

COMPILE = uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-annotate --no-header --no-emit-index-url
lock:  # needs uv; the lock carries hashes and no addresses
	$(COMPILE) --output-file requirements.lock pyproject.toml .ci/build.in
	$(COMPILE) --all-extras --group dev --group docs --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml .ci/build.in
