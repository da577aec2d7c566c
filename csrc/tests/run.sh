#!/bin/sh
# Builds the native tests and runs them: run.sh [plain|asan|tsan]. Objects go to build/native-tests/ of the repository.
set -eu
cd "$(dirname "$0")/.."
mode=${1:-plain}
case $mode in
plain) sanitize="" ;;
asan) sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all" ;;
tsan) sanitize="-fsanitize=thread" ;;
*)
    echo "usage: run.sh [plain|asan|tsan]" >&2
    exit 2
    ;;
esac
out=../build/native-tests/$mode
mkdir -p "$out"
flags="-std=c++20 -O1 -g -pthread -ffp-contract=off -Wall -Wextra -Werror -Wno-psabi -I. -Itests $sanitize"
case $(uname -m) in
x86_64) isas="avx2 avx512vnni" ;;
aarch64 | arm64) isas="neon_dotprod" ;;
*) isas="" ;;
esac
for isa in $isas; do
    flags="$flags -DMEMCORE_HAVE_$(echo "$isa" | tr '[:lower:]' '[:upper:]')=1"
done

objects=""
compile() { # source, extra flags
    object=$out/$(echo "$1" | tr / _).o
    # shellcheck disable=SC2086
    ${CXX:-g++} $flags $2 -c "$1" -o "$object"
    objects="$objects $object"
}
for part in tiled_l2 block_bounds; do
    compile $part/scalar.cpp ""
    for isa in $isas; do
        case $isa in
        avx2) extra="-mavx2 -mfma" ;;
        avx512vnni) extra="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma" ;;
        neon_dotprod) extra="-march=armv8.2-a+dotprod" ;;
        esac
        compile $part/$isa.cpp "$extra"
    done
done
for source in tiled_l2/pack.cpp tiled_l2/tiled_l2.cpp tiled_l2/float_images.cpp block_bounds/pyramid.cpp \
    block_bounds/candidates.cpp block_bounds/edges.cpp block_bounds/dense_graph.cpp block_bounds/verify.cpp \
    block_bounds/graph.cpp knn/knn.cpp runtime/cpu_features.cpp runtime/dispatch.cpp runtime/thread_pool.cpp \
    clique/*.cpp; do
    compile $source ""
done
status=0
shared=$objects
for program in native_tests test_clique; do
    objects=""
    compile tests/$program.cpp ""
    # shellcheck disable=SC2086
    ${CXX:-g++} $flags $shared $objects -o "$out/$program"
    "$out/$program" || status=1
done
exit $status
