# Every target makes what it needs in .venv and does nothing twice: the stamp file is newer than
# pyproject.toml and constraints.txt when the environment is complete.

VENV  ?= .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.complete
# The first of these that is Python 3.11 or newer makes the environment.
PYTHONS ?= python3 python3.13 python3.12 python3.11 python
# Another torch build: make TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
PIP := $(BIN)/python $(PIP_INSTALL)

# Two test processes with one thread each are faster than one process with two.
JOBS  ?= 2
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help demo test faults ranks check bench laws calibration strategies docs site wheel release clean

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  if command -v $$python > /dev/null && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
	    echo "making $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV) 2> /dev/null && exit 0; \
	    rm -rf $(VENV); \
	    $$python -m venv --without-pip $(VENV) && $$python -m pip --python $(BIN)/python install --quiet pip; exit; \
	  fi; \
	done; echo "keeptune needs Python 3.11 or newer" >&2; exit 1

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV); the first time takes minutes"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(STAMP) ## the built-in study: verdict, table, runs/demo/report.html
	$(BIN)/keeptune demo

test: $(STAMP) ## all tests
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(JOBS) $(TESTS)

faults: $(STAMP) ## kills, damaged files, full disks, in the long form: half an hour; docs/resuming.md
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false KEEPTUNE_FAULTS=long $(BIN)/python -m pytest -rP tests/faults

ranks: $(STAMP) ## two and three ranks against one, lost ranks, in the long form: a quarter of an hour; docs/devices.md
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false KEEPTUNE_RANKS=long $(BIN)/python -m pytest tests/distributed

check: $(STAMP) ## format, lint, types, import layers, spelling, links, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/make_site.py check
	$(BIN)/python .ci/audit.py

# make bench [ONLY=study|train|score|generate|ceiling|planning|plan|operators|encode|large|leaks|startup] [QUICK=1] [DATA="A.jsonl B.jsonl:test"] [ARGS="--batch 64"]
# Only a whole run keeps its reports and writes the page; ONLY closes with the benchmark's line of JSON.
BENCH := .venv-bench
ONLY  ?=
QUICK ?=
DATA  ?=
# The folder that holds normalised/*.jsonl, for the study's question on real data.
DATA_FOLDER ?=
ARGS  ?=
BENCH_PIP = $(BENCH)/bin/python $(PIP_INSTALL)
BENCH_RUN = $(BENCH)/bin/python benchmarks/$(1).py $(if $(QUICK),--quick) $(if $(2),--data $(2)) $(ARGS)

DATA_train = $(DATA)
DATA_score = $(firstword $(DATA))
DATA_generate = $(firstword $(DATA))
DATA_study = $(DATA_FOLDER)

$(BENCH)/.complete: pyproject.toml constraints.txt benchmarks/requirements.txt | $(STAMP)
	@echo "installing the peers into $(BENCH); the first time takes minutes"
	@test -x $(BENCH)/bin/python || $(BIN)/python -m venv $(BENCH) 2> /dev/null \
	  || { rm -rf $(BENCH); $(BIN)/python -m venv --without-pip $(BENCH) && $(BIN)/python -m pip --python $(BENCH)/bin/python install --quiet pip; }
	@$(BENCH_PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(BENCH_PIP) -e . -r benchmarks/requirements.txt
	@touch $@

bench: $(BENCH)/.complete ## speed against TRL, lm-eval and transformers: docs/performance.md
ifeq ($(ONLY),)
	$(call BENCH_RUN,study,$(DATA_FOLDER)) --json benchmarks/results
	$(call BENCH_RUN,ceiling) --json benchmarks/results
	$(call BENCH_RUN,train,$(firstword $(DATA))) --json benchmarks/results
	$(call BENCH_RUN,train,$(DATA)) --shape smollm2-10 --batch 64 --method full --json benchmarks/results
	$(call BENCH_RUN,score,$(firstword $(DATA))) --json benchmarks/results
	$(call BENCH_RUN,generate,$(firstword $(DATA))) --json benchmarks/results
	$(call BENCH_RUN,planning) --json benchmarks/results
	$(call BENCH_RUN,operators,$(firstword $(DATA))) --json benchmarks/results
	$(call BENCH_RUN,encode) --json benchmarks/results
	$(call BENCH_RUN,large) --json benchmarks/results
	$(call BENCH_RUN,leaks) --json benchmarks/results
	$(call BENCH_RUN,startup) --json benchmarks/results
	$(BENCH)/bin/python benchmarks/write_page.py
	$(BENCH)/bin/python benchmarks/write_comparison.py
else
	@$(call BENCH_RUN,$(ONLY),$(DATA_$(ONLY)))
endif

laws: $(STAMP) ## ten laws on the built-in model, within the hour: docs/laws.md
	$(BIN)/python recipes/laws/laws.py

calibration: $(STAMP) ## how often verdicts and choices are wrong, by simulation: docs/calibration.md
	OMP_NUM_THREADS=1 $(BIN)/python recipes/calibration/calibrate.py

strategies: $(STAMP) ## how strategies of `search` compare on simulated tasks: docs/search.md
	OMP_NUM_THREADS=1 $(BIN)/python recipes/search/compare.py --tasks 50

docs: $(STAMP) ## links resolve and snippets run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/docs

site: $(STAMP) ## build/site: the documentation as a site
	$(BIN)/python docs/make_site.py
	$(BIN)/zensical build --clean --strict

wheel: $(STAMP) ## dist/*.whl
	$(BIN)/python -m build --wheel --outdir dist .

release: $(STAMP) ## dist/: source and wheel, as they are published
	$(BIN)/python -m build --outdir dist .

clean: ## removes the environment and built files, keeps runs
	rm -rf $(VENV) $(BENCH) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
