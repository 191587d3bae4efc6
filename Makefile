# The commands of a checkout. Each one installs first what it needs and is missing.

PYTHON := .venv/bin/python
JOBS ?= 2

.PHONY: help setup demo test lint types bench bench-check locust fuzz fuzz-parsers soak flows \
	faults compat transparency clean
.NOTPARALLEL:

help:
	@echo "make demo    show the product at work (installs what is missing; root for eBPF)"
	@echo "make test    lint, types and all tests"
	@echo "make lint    ruff: rules and formatting"
	@echo "make types   mypy, strict"
	@echo "make bench   measure the roads against direct connections and other proxies"
	@echo "make bench-check  make bench, held against the report in loadtest/report"
	@echo "make locust  a crowd of users on the demo, and locust's page to steer it (root for eBPF)"
	@echo "make fuzz    hold the kernel's verdicts to the proxy's for MINUTES=30 (root for eBPF)"
	@echo "make fuzz-parsers  look for faults in what reads others' words, MINUTES=5 for each reader"
	@echo "make soak    a mixed load on the kernel road for MINUTES=60, all checked (root for eBPF)"
	@echo "make flows   hold records and metrics to what clients of REQUESTS=100000 saw (root for eBPF)"
	@echo "make faults  what clients notice of faults, each tried TIMES=3 (root for eBPF)"
	@echo "make compat  real clients against real servers on each road (root for eBPF)"
	@echo "make transparency  test suites of others with their sockets covered (root for eBPF)"
	@echo "make setup   Debian packages and the virtual environment in .venv"
	@echo "make clean   remove .venv, caches and build output"

setup:
	@scripts/setup.sh

demo: setup
	@$(PYTHON) -m l7proxy demo

lint: setup
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check

types: setup
	$(PYTHON) -m mypy

test: lint types
	$(PYTHON) -m pytest -n $(JOBS) --dist loadfile

bench: setup
	$(PYTHON) -m loadtest.bench --report loadtest/report

bench-check: setup
	$(PYTHON) -m loadtest.bench --against loadtest/report/report.json

locust: setup
	@$(PYTHON) -m loadtest.crowd

fuzz: setup
	$(PYTHON) -m tests.kernel.fuzz --minutes $(or $(MINUTES),30)

fuzz-parsers:
	@scripts/setup.sh fuzz
	$(PYTHON) -m tests.fuzz --minutes $(or $(MINUTES),5)

soak: setup
	$(PYTHON) -m tests.kernel_road.soak --minutes $(or $(MINUTES),60)

flows: setup
	$(PYTHON) -m tests.flows --requests $(or $(REQUESTS),100000)

faults:
	@scripts/setup.sh faults
	$(PYTHON) -m tests.faults --times $(or $(TIMES),3)

compat:
	@scripts/setup.sh compat
	$(PYTHON) -m tests.compat

transparency:
	@scripts/setup.sh transparency
	$(PYTHON) -m tests.transparency

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
