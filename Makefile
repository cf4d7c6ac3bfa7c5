# The front door. `make help` lists the targets.
SHELL := bash
.DEFAULT_GOAL := help
RUN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
# Compiled modules are kept whatever the environment says: a fresh installation has none, and a process that imports torch without them takes 12 s longer.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-long check lint types contract unit bench docs browser stop clean wheel lock figures

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv with every pinned dependency (done by the others when needed)
	@bash scripts/bootstrap.sh

demo: setup  ## bundled model -> causal feature graph -> Neo4j -> queries and report
	@$(RUN)/feature-graph demo

test: setup  ## the whole suite: lint, types, import contract, unit, causal, real Neo4j, end to end
	@$(MAKE) --no-print-directory lint contract
	@$(RUN)/python -m scripts.run_tests

test-long: setup  ## what takes long, before an issue is resolved: seed sweeps, a million edges or tokens, full validation, screenshots
	@$(RUN)/pytest -m long

check: setup lint types contract unit  ## the quick part, under three minutes

lint: setup  ## format and lint
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .

types: setup  ## type checker, over benchmarks and scripts, too
	@$(RUN)/mypy

contract: setup  ## imports only go down
	@$(RUN)/lint-imports

unit: setup  ## unit tests that are not slow, a process per core
	@OMP_NUM_THREADS=1 $(RUN)/pytest tests/unit -q -m "not long and not slow" -n logical --maxprocesses 8 --dist loadfile

docs: setup  ## build the documentation into site/; works from disk, search included
	@NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --quiet
	@echo "documentation: site/index.html"

browser: setup  ## start the demo's database if need be and open Neo4j Browser
	@$(RUN)/feature-graph db start && $(RUN)/feature-graph db browser

stop: setup  ## stop the demo's database (its data stay)
	@$(RUN)/feature-graph db stop

figures: setup  ## measure the bundled runs anew and write their figures, tables and pictures into README and docs (over an hour; needs Chromium)
	@$(RUN)/python -m scripts.figures

wheel: setup  ## build dist/*.whl
	@$(RUN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	@ls -l dist/*.whl

bench: setup  ## benchmarks; they print ratios, and take long
	@for b in analysis engine ingest_speed interactions motifs responses; do echo "== $$b"; $(RUN)/python benchmarks/$$b.py || exit 1; done

lock: setup  ## recompile the pinned requirements (maintainers)
	@bash scripts/lock.sh

clean:  ## remove environments and build products; never a database or a run
	rm -rf .venv .tools site dist build .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
