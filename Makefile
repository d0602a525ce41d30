# Everything starts here: `make run` and `make test` need Python 3.11+, Java 17+ and PyPI, no more.
# Written for GNU Make 3.81 (macOS) and newer.

SHELL := /bin/bash
BIN := .venv/bin
INSTANCE := $(or $(DAGSTER_HOME),$(CURDIR)/data/state/dagster)
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

.PHONY: help run test test-all test-pythons test-circuit-breaker bench bench-quick ui up monitor-circuits lint format docs venv dev dbt lock stop clean \
  java instance

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-16s %s\n", $$1, $$2}' Makefile

run: java venv instance ## land an hour of sample telemetry the first time, take what landed to platinum, print the problems
	@DAGSTER_HOME="$(INSTANCE)" $(BIN)/alert-assets run --sample

test: java dev ## the tests, without the slow ones; ARGS="-k silver" goes to pytest
	@.ci/test $(ARGS)

test-all: java dev ## all the tests
	@$(BIN)/python -m pytest -m "" $(ARGS)

# One environment for each interpreter, some minutes each; ARGS as for `make test`.
test-pythons: java ## the control plane, and landing to platinum, on each Python from 3.11 to 3.13 that is there
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13); do .ci/python "$$python" || exit 1; done

bench: java dev ## measure everything, into benchmarks/RESULTS.md (hours); ARGS="--only cycle" a part of it
	@$(BIN)/python -m benchmarks run --results benchmarks/RESULTS.md $(ARGS)

bench-quick: java dev ## the ratios that must not get worse, in minutes
	@$(BIN)/python -m benchmarks quick $(ARGS)

ui: java venv instance ## the Dagster UI, on the same state as `make run`
	@DAGSTER_HOME="$(INSTANCE)" PYTHONWARNINGS='ignore:Function `dev_command` is superseded' $(BIN)/dagster dev -w workspace.yaml

# Each in a process group of its own (-m), so that Ctrl-C is passed on once; when one ends, so do the others.
up: java venv instance ## everything: HTTP in, `alert-assets stream`, and the Dagster UI; Ctrl-C ends them together
	@export DAGSTER_HOME="$(INSTANCE)" PYTHONWARNINGS='ignore:Function `dev_command` is superseded'; set -m; pids=(); \
	trap 'for pid in "$${pids[@]}"; do kill -INT -- -$$pid 2>/dev/null; done; wait' EXIT; trap 'exit 130' INT TERM; \
	for command in 'alert-assets serve' 'alert-assets stream' 'dagster dev -w workspace.yaml'; do \
	  $(BIN)/$$command & pids+=($$!); \
	done; \
	while [ "$$(jobs -r | grep -c .)" -eq 3 ]; do sleep 1; done

test-circuit-breaker: java dev dbt ## the tests of the circuit breakers, slow ones too
	@$(BIN)/python -m pytest -m "" alert_assets_tests/breaker $(ARGS)

monitor-circuits: venv ## the circuit breakers, live; Ctrl-C ends it
	@$(BIN)/alert-assets breaker status --watch

lint: dev ## lint, format, types, layers and dependencies, checked
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry .

docs: .venv/.installed-docs ## the documentation, into docs/_build/html; VERSIONS="v0.1.0" builds tags beside it
	@if [ -n "$(VERSIONS)" ]; then .ci/docs $(VERSIONS); else \
	  $(BIN)/sphinx-build --fail-on-warning --quiet -b html docs docs/_build/html; fi

format: dev ## lint and format, applied
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

venv: .venv/.installed ## .venv with what running needs; PYTHON=python3.12 chooses the interpreter

dev: .venv/.installed-dev

# dbt's own pins would hold back what is in .venv.
dbt: .venv-dbt/.installed ## .venv-dbt with dbt, for the test of a dbt project behind a circuit breaker

.venv-dbt/.installed: requirements-dbt-lock.txt .venv/.installed
	@.venv/bin/python -m venv --clear .venv-dbt
	@.venv-dbt/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

stop: ## stop the warm Spark server
	@if [ -x $(BIN)/alert-assets ]; then $(BIN)/alert-assets spark stop; fi

clean: ## remove the tables, checkpoints, state and landed samples under data/
	@for made in data/lake data/checkpoints data/state data/landing/sample-*; do \
	  if [ -e $$made ]; then echo "Removing $$made"; rm -rf $$made; fi; \
	done

# Spark runs on the java that JAVA_HOME or PATH names. With a server elsewhere (SPARK_REMOTE) none is needed.
java:
	@if [ -n "$$SPARK_REMOTE" ]; then exit 0; fi; \
	java="$${JAVA_HOME:+$$JAVA_HOME/bin/}java"; \
	major=$$("$$java" -version 2>&1 | sed -n 's/^.*version "\(1\.\)\{0,1\}\([0-9][0-9]*\).*/\2/p' | head -n 1); \
	if [ "$${major:-0}" -lt 17 ]; then \
	  echo "Spark needs Java 17 or newer; $$java is $${major:+Java }$${major:-not there}. Debian/Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17, then export JAVA_HOME=\"\$$(brew --prefix openjdk@17)\"" >&2; \
	  exit 1; \
	fi

instance:
	@mkdir -p "$(INSTANCE)"
	@if [ ! -e "$(INSTANCE)/dagster.yaml" ]; then cp deploy/dagster.yaml "$(INSTANCE)/"; fi

# Sets $python to the first usable interpreter, or ends with one line that says what is missing.
define find_python
for python in $(PYTHONS); do \
  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
  case $$version in 3.11 | 3.12 | 3.13) ;; *) seen="$$seen $$python ($$version)"; continue ;; esac; \
  if $$python -c 'import ensurepip, venv' 2>/dev/null; then usable=yes; break; fi; \
  seen="$$seen $$python ($$version without venv: on Debian or Ubuntu apt-get install python$$version-venv)"; \
done; \
if [ -z "$$usable" ]; then \
  echo "Python 3.11 to 3.13 with venv is needed; found:$${seen:- none}. Install one, or name it: make venv PYTHON=/path/to/python" >&2; \
  exit 1; \
fi
endef

# pip's pages go to .venv/install.log; the terminal gets the steps that take long, or the end of the log when it fails.
define pip_install
set -o pipefail; \
.venv/bin/python -m pip install --disable-pip-version-check --no-input $(1) 2>&1 | tee -a .venv/install.log | awk ' \
  /(Downloading|Using cached) .*\([0-9][0-9]+(\.[0-9]+)? MB\)/ { sub(/^ +/, ""); print "  " $$0; fflush() } \
  /^Building wheels.*pyspark/ { print "  Building pyspark"; fflush() } \
  /^Installing collected packages/ && NF > 4 { print "  Installing " NF - 3 " packages"; fflush() }' \
|| { tail -n 8 .venv/install.log >&2; echo "The installation failed; all of it is in .venv/install.log" >&2; exit 1; }
endef

# Without build isolation setuptools too comes from the lock: pyspark is published as source only.
.venv/.installed: requirements-lock.txt pyproject.toml
	@if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	  $(find_python); \
	  echo "Making .venv with Python $$version ($$(command -v $$python))"; \
	  $$python -m venv --clear .venv; \
	fi
	@echo "Installing requirements-lock.txt into .venv (some minutes the first time: Spark is 450 MB)"
	@rm -f .venv/install.log
	@sed -n '/^setuptools==/,/[^\]$$/p' requirements-lock.txt >.venv/setuptools.txt
	@$(call pip_install,--require-hashes -r .venv/setuptools.txt)
	@$(call pip_install,--require-hashes --no-build-isolation --use-pep517 -r requirements-lock.txt)
	@$(call pip_install,--no-deps --no-build-isolation -e .)
	@touch $@

.venv/.installed-%: requirements-%-lock.txt .venv/.installed
	@echo "Installing $< into .venv"
	@$(call pip_install,--require-hashes -r $<)
	@touch $@

# The dev and docs locks hold what their extras add, in the versions that running has.
lock: ## resolve the locks anew from pyproject.toml; ARGS=--upgrade takes the newest of everything
	@$(find_python); \
	tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	$$python -m venv "$$tools" && "$$tools/bin/pip" install --quiet --disable-pip-version-check uv && \
	compile() { "$$tools/bin/uv" pip compile --universal --python-version 3.11 --no-python-downloads --generate-hashes \
	  --no-strip-extras --quiet --custom-compile-command 'make lock' $(ARGS) "$$@"; } && \
	compile pyproject.toml --extra build -o requirements-lock.txt && \
	for lock in 'dev test bench dev' 'docs docs'; do \
	  set -- $$lock; \
	  $$python -c 'import sys, tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	    print(*(line for extra in sys.argv[1:] for line in extras[extra]), sep="\n")' "$${@:2}" >"$$tools/$$1.in" && \
	  compile "$$tools/$$1.in" --constraints requirements-lock.txt --no-annotate -o "requirements-$$1-lock.txt" || exit 1; \
	done && \
	group() { $$python -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"][sys.argv[1]], sep="\n")' \
	  $$1 >"$$tools/$$1.in"; } && \
	group dbt && compile "$$tools/dbt.in" --no-annotate -o requirements-dbt-lock.txt && \
	group image && compile "$$tools/image.in" --constraints requirements-lock.txt --no-annotate -o requirements-image-lock.txt
