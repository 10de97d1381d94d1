# edgelane: `make demo` shows the main job, `make test` checks everything, `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CPP_SOURCES := $(shell find csrc tests/cpp tests/fuzz benchmarks -name '*.[ch]pp' -o -name '*.c' -o -name '*.h' -o -name '*.inc')
NATIVE_SOURCES := $(shell find csrc -type f) python/edgelane/_version.py setup.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint format types cpp-test arm-test sanitize fuzz fuzz-long fuzz-lane fuzz-onnx bench bench-peers bench-compression bench-program zoo clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(VENV)/.demo $(VENV)/.native  ## train, prune, quantise, export, compile, run and benchmark a sign classifier
	$(BIN)/edgelane demo

test: lint types cpp-test arm-test sanitize fuzz  ## everything that checks the project: lint, types, C++ tests here and on Arm, sanitizers, fuzzers, Python tests
	$(BIN)/python -m pytest -m "not long"

test-long: test fuzz-long  ## what takes longer: the rest of the model zoo, ten minutes of each fuzzer
	$(BIN)/python -m pytest -m long

lint: $(VENV)/.dev  ## formatting and static checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run --Werror $(CPP_SOURCES)

format: $(VENV)/.dev  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_SOURCES)

types: $(VENV)/.dev $(VENV)/.native  ## mypy
	$(BIN)/mypy

cpp-test: $(VENV)/.native  ## the C++ tests, without Python
	@mkdir -p build
	$(BIN)/cmake -S csrc -B build/cmake -DEDGELANE_TESTS=ON -DEDGELANE_EXAMPLES=ON -DEDGELANE_BENCHMARKS=ON > build/configure.log || (cat build/configure.log; false)
	$(BIN)/cmake --build build/cmake
	build/cmake/edgelane_tests --gtest_brief=1

# Cross-compiled and emulated: all tests on a CPU with every instruction set that there are kernels for, and those of the choice
# among them on CPUs without the newer ones. -O1: the emulator takes no longer for it, and -O3 would compile for three times as long.
QEMU := qemu-aarch64-static -L /usr/aarch64-linux-gnu
ARM_TESTS := build/aarch64/edgelane_tests --gtest_brief=1
arm-test: $(VENV)/.dev  ## the C++ tests for 64-bit Arm, under qemu-aarch64
ifeq ($(and $(shell command -v aarch64-linux-gnu-g++),$(shell command -v qemu-aarch64-static)),)
	@echo "arm-test: NOT RUN: it needs aarch64-linux-gnu-g++ and qemu-aarch64-static (Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static libgtest-dev)"
else
	@mkdir -p build
	$(BIN)/cmake -S csrc -B build/aarch64 -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DCMAKE_CXX_FLAGS_RELEASE=-O1 \
	    -DCMAKE_TOOLCHAIN_FILE=$(abspath csrc/cmake/aarch64-linux-gnu.cmake) -DEDGELANE_TESTS=ON > build/configure.log || (cat build/configure.log; false)
	$(BIN)/cmake --build build/aarch64
	export EDGELANE_EXPECTED_ISAS="scalar neon neon_dotprod neon_i8mm"; \
	    $(QEMU) -cpu max $(ARM_TESTS) --gtest_filter='EveryKernel/*' & kernels=$$!; \
	    $(QEMU) -cpu max $(ARM_TESTS) --gtest_filter='-EveryKernel/*'; rest=$$?; \
	    wait $$kernels && exit $$rest
	EDGELANE_EXPECTED_ISAS="scalar neon neon_dotprod" $(QEMU) -cpu neoverse-n1 $(ARM_TESTS) --gtest_filter='CpuFeatures.*:Session.*'
	EDGELANE_EXPECTED_ISAS="scalar neon" $(QEMU) -cpu cortex-a53 $(ARM_TESTS) --gtest_filter='CpuFeatures.*:Session.*'
endif

sanitize: $(VENV)/.dev  ## the C++ tests under the address and undefined-behaviour sanitizers
	@mkdir -p build
	$(BIN)/cmake -S csrc -B build/sanitize -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DCMAKE_CXX_FLAGS_RELEASE=-O1 \
	    -DEDGELANE_TESTS=ON -DEDGELANE_SANITIZE=ON > build/configure.log || (cat build/configure.log; false)
	$(BIN)/cmake --build build/sanitize
	build/sanitize/edgelane_tests --gtest_brief=1

# What fuzzers find goes to build/, and stays there between runs; what is worth keeping to tests/fuzz/corpus, see tests/fuzz/README.md.
# The short run has a fixed seed, so that it finds the same each time; the long one has another each time.
FUZZ_SECONDS := 30
FUZZ_SEED := 1
FUZZ_OPTIONS = -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=3000 -max_len=16384 -print_final_stats=1 -verbosity=0
fuzz: fuzz-lane fuzz-onnx  ## hostile .lane and ONNX files: libFuzzer and atheris, 30 s each

fuzz-long:  ## the same for ten minutes each
	$(MAKE) fuzz FUZZ_SECONDS=600 FUZZ_SEED=0

fuzz-lane: $(VENV)/.tools
ifeq ($(and $(shell command -v clang),$(shell command -v clang++)),)
	@echo "fuzz-lane: NOT RUN: it needs clang and clang++ with libFuzzer (Debian: apt-get install clang)"
else
	@mkdir -p build/fuzz/seeds build/fuzz/found
	$(BIN)/cmake -S csrc -B build/fuzz -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DCMAKE_C_COMPILER=clang \
	    -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DEDGELANE_FUZZ=ON > build/configure.log || (cat build/configure.log; false)
	$(BIN)/cmake --build build/fuzz --target fuzz_lane
	build/fuzz/fuzz_lane -seeds=build/fuzz/seeds
	build/fuzz/fuzz_lane $(FUZZ_OPTIONS) -artifact_prefix=build/fuzz/finding- build/fuzz/found build/fuzz/seeds tests/fuzz/corpus/lane
endif

fuzz-onnx: $(VENV)/.dev $(VENV)/.native
	@mkdir -p build/fuzz_onnx/seeds build/fuzz_onnx/found
	@if $(BIN)/python -c 'import atheris' 2> /dev/null; then set -x; \
	    $(BIN)/python tests/fuzz/onnx_import.py -seeds=build/fuzz_onnx/seeds && \
	    $(BIN)/python tests/fuzz/onnx_import.py $(FUZZ_OPTIONS) -artifact_prefix=build/fuzz_onnx/finding- \
	        build/fuzz_onnx/found build/fuzz_onnx/seeds tests/fuzz/corpus/onnx; \
	else echo "fuzz-onnx: NOT RUN: it needs atheris, which has wheels for x86-64 Linux and Python up to 3.13 (pip install atheris)"; fi

bench: $(VENV)/.dev $(VENV)/.native bench-program  ## kernels against this machine's ceilings, break-even sparsities; JSON in build/
	$(BIN)/python -m pytest benchmarks --benchmark-json=build/bench.json
	$(BIN)/python -m benchmarks.kernels

bench-peers: $(VENV)/.dev $(VENV)/.native bench-program  ## the goal table against ONNX Runtime and OpenVINO, 12 minutes; benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.models

bench-compression: $(VENV)/.dev $(VENV)/.native  ## accuracy and latency of each way of compression, three seeds, under 3 hours; goes on where it was ended; benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.compression --jobs 2

zoo: $(VENV)/.dev $(VENV)/.native  ## every model of the zoo by both exporters of torch, hours; goes on where it was ended; benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.zoo --time

bench-program: $(VENV)/.tools  # the C++ harness of both
	@mkdir -p build
	$(BIN)/cmake -S csrc -B build/cmake -DEDGELANE_BENCHMARKS=ON > build/configure.log || (cat build/configure.log; false)
	$(BIN)/cmake --build build/cmake --target edgelane_benchmarks

clean:  ## remove what was built; the environment and runs/ stay
	rm -rf build python/edgelane/*.so $(VENV)/.native

# The environment. Each stamp is remade only when what it installs has changed.
$(VENV)/.tools: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "edgelane needs Python 3.10 or newer, found " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "setuptools>=77" "pybind11>=2.13" "cmake>=3.22" ninja
	@touch $@

$(VENV)/.demo: $(VENV)/.tools setup.py
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --no-build-isolation -e ".[all]"
	@touch $@ $(VENV)/.native

$(VENV)/.dev: $(VENV)/.tools setup.py
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --no-build-isolation -e ".[dev]"
	@touch $@ $(VENV)/.demo $(VENV)/.native

$(VENV)/.native: $(VENV)/.tools $(NATIVE_SOURCES)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@
