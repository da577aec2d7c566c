#!/bin/bash -eu
# Builds every target into $OUT, as OSS-Fuzz calls it: SANITIZER, CC, CXX, CFLAGS, CXXFLAGS, LIB_FUZZING_ENGINE and OUT are set.

# The native targets: the C ABI, and sketches.
csrc/tests/run.sh fuzzers "$OUT"

# The Python targets. Their core is built without a sanitizer: it would have to be loaded before Python.
env -u CFLAGS -u CXXFLAGS pip3 install '.[audit,report]'
for target in fuzz/oss/fuzz_*.py; do
  name=$(basename "$target" .py)
  compile_python_fuzzer "$target" --paths . \
    --collect-all memcore --collect-submodules fuzz --collect-submodules tests.support \
    --add-data tests/data:tests/data --add-data fuzz/corpus:fuzz/corpus
  zip -q -j "$OUT/${name}_seed_corpus.zip" "fuzz/corpus/${name#fuzz_}"/*
done
