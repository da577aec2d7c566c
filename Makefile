# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first; nothing outside this folder changes.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Our own environments pin torch to a release with a small CPU build; the package itself accepts a range.
TORCH  ?= torch==2.13.0

export HF_HUB_OFFLINE := 1

.PHONY: gpu-check kernels-oldest study-gan study-defences proof-scale proof-accounting proof-stops proof-received proof-bit-flips demo test fuzz lint docs wheel sanitize aarch64 bench study study-train clean help budget

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.demo ## the main job, end to end, on the bundled diffusion model: ends with the path of a page to open
	$(BIN)/memcore demo --out demo-run

test: $(VENV)/.dev ## all tests
	$(BIN)/python -m pytest -q -n auto --dist loadfile

# Seconds of each fuzzer, and fuzzers at a time.
MEMCORE_FUZZ_SECONDS ?= 120
FUZZ_JOBS ?= 1

fuzz: $(VENV)/.dev ## the fuzzers, two minutes each: distances, layouts of arrays, images, folders of runs, the C ABI
	$(BIN)/python -m fuzz --seconds $(MEMCORE_FUZZ_SECONDS) --jobs $(FUZZ_JOBS) $(FUZZ_FLAGS)

lint: $(VENV)/.dev ## formatting, types, layers
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports
	git ls-files '*.cpp' '*.cu' '*.hpp' '*.h' '*.inl' '*.c' | xargs $(BIN)/clang-format --dry-run -Werror

docs: $(VENV)/.docs ## the documentation as a site, into site/; a broken link or name is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo site/index.html

sanitize: $(VENV)/.dev ## the native tests under ASan + UBSan, and under TSan
	csrc/tests/run.sh asan && csrc/tests/run.sh tsan
	csrc/tests/simt/run.sh asan && csrc/tests/simt/run.sh tsan

aarch64: ## the native tests, cross-compiled for AArch64 and run under emulation
	csrc/tests/run.sh aarch64

bench: $(VENV)/.dev ## the kernels against their peers
	$(BIN)/memcore bench

OLDEST_TRITON := 3.6.0

kernels-oldest: $(VENV)/.dev ## the Triton kernels for sm_90a, compiled by the oldest Triton that is supported (640 MB into build/)
	test -d build/triton-$(OLDEST_TRITON) || $(BIN)/pip install --quiet --no-deps --target build/triton-$(OLDEST_TRITON) triton==$(OLDEST_TRITON)
	PYTHONPATH=build/triton-$(OLDEST_TRITON):kernels $(BIN)/python -W ignore -m memcore_kernels.proof.machine_code --arch 90 \
	  --check tests/machine_code_oldest.jsonl

gpu-check: $(VENV)/.dev ## every kernel checked and timed on this machine's GPU, into gpu-check/; without one, what it would do
	$(BIN)/python benchmarks/gpu_check --out gpu-check

proof-scale: $(VENV)/.dev ## 350,000 prompts x 500 images through memcore audit, killed five times and resumed
	$(BIN)/python benchmarks/proof_scale.py

proof-accounting: $(VENV)/.dev ## 2,000 random sets with planted oddities, each accounted for; 20,000 damaged files, each read or refused
	MEMCORE_ACCOUNTING=400 MEMCORE_MUTATIONS=20000 $(BIN)/python -m pytest -q -n 0 tests/sources/test_accounting.py tests/sources/test_mutations.py

proof-stops: $(VENV)/.dev ## Ctrl-C 50 times in each native call and command, 500 exits beside daemon threads, 200 SIGKILLs; figures in proof-stops.jsonl
	rm -f proof-stops.jsonl
	MEMCORE_RECORD=$(CURDIR)/proof-stops.jsonl MEMCORE_STOPS=50 MEMCORE_EXITS=500 MEMCORE_KILLS=200 $(BIN)/python -m pytest -q -n 0 \
	  tests/native/test_interrupts.py tests/native/test_exits.py tests/commands/test_killed.py tests/commands/test_stopped.py

proof-bit-flips: $(VENV)/.dev ## 20,000 single bits flipped in every file of a run and an index, each noticed or harmless; 200 resumed runs
	MEMCORE_FLIPS=5000 MEMCORE_RESUMES=50 MEMCORE_SEEDS="1 2 3 4" \
	  $(BIN)/python -m pytest -q -rP -n auto --dist load tests/commands/test_bit_flips.py

proof-received: $(VENV)/.dev ## an audit of a hosted model, killed 20 times while it receives: nothing asked for twice, nothing lost
	MEMCORE_KILLS=20 $(BIN)/python -m pytest -q -n 0 tests/audit/test_hosted_kills.py

budget: $(VENV)/.dev ## what the sequential budget loses and saves: 10,000 simulated prompts a copy rate, and an audit
	$(BIN)/python benchmarks/budget_misses.py

study: $(VENV)/.demo ## what makes small models leak: trains and attacks the models of the protocol laptop, into study-run/ (memcore study plan laptop says how long that takes here)
	$(BIN)/memcore study run laptop study-run && $(BIN)/memcore study report study-run

study-gan: $(VENV)/.demo ## diffusion models against GANs: the protocol gan, into study-gan-run/
	$(BIN)/memcore study run gan study-gan-run && $(BIN)/memcore study report study-gan-run

study-defences: $(VENV)/.demo ## what defences cost: trains and attacks the models of the protocol defences, into study-defences-run/
	$(BIN)/memcore study run defences study-defences-run && $(BIN)/memcore study report study-defences-run

study-train: $(VENV)/.demo ## trains the bundled model again, into study-train-run/ (about half an hour)
	$(BIN)/memcore study train study-train-run

wheel: $(VENV)/.dev ## the wheel, into dist/
	$(BIN)/python -m build --wheel

clean: ## what was built here
	rm -rf build dist site memcore/_core*.so memcore/lib memcore/include *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

NATIVE := $(shell find csrc -name '*.cpp' -o -name '*.hpp' -o -name '*.inl' -o -name '*.h' -o -name '*.def') $(wildcard csrc/package/*) setup.py pyproject.toml

# Without build isolation the core is compiled once, and a second install finds its objects again.
INSTALL := $(BIN)/pip install -q --no-build-isolation -e

$(VENV)/.demo: $(VENV)/bin/python $(NATIVE) memcore/_version.py
	$(BIN)/pip install -q 'setuptools>=77' wheel 'pybind11>=2.13' $(TORCH)
	$(INSTALL) '.[audit,report]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(INSTALL) '.[audit,report,annotate,http,serve,adapter,gpu,ray,s3,study,bench,docs,dev]'
	touch $@

# The reference is read from the source, so that the site needs neither the core nor torch: the extra alone is installed.
$(VENV)/.docs: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	  print(*extras["docs"], sep="\n")' > $(VENV)/docs.txt
	$(BIN)/pip install -q -r $(VENV)/docs.txt
	touch $@
