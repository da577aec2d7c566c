#!/bin/sh
# Runs csrc/clique/*.cu on the CPU, each CUDA thread a fiber, against the CPU solver; then with faults planted in
# them, each of which must be caught: run.sh [plain|asan|tsan]. Objects go to build/simt/.
set -eu
cd "$(dirname "$0")/../.."
mode=${1:-plain}
case $mode in
plain) sanitize="" runtime="" schedules=6 small=0 ;;
asan) sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all" runtime="-DSIMT_ASAN" schedules=2 small=1 ;;
tsan) sanitize="-fsanitize=thread" runtime="-DSIMT_TSAN" schedules=1 small=1 ;;
*)
    echo "usage: run.sh [plain|asan|tsan]" >&2
    exit 2
    ;;
esac
if [ "$(uname -m)" != x86_64 ]; then
    echo "simt: skipped, its switch of stacks is written for x86-64, not $(uname -m)"
    exit 0
fi
out=../build/simt/$mode
mkdir -p "$out"
flags="-std=c++20 -O1 -g -pthread -Wall -Wextra -Werror -Wno-psabi -I."
cxx=${CXX:-g++}
compile() { # source, object, flags
    # shellcheck disable=SC2086
    $cxx $3 $flags -c "$1" -o "$out/$2"
}
kernels() { # folder with clique/*.cu, test, program, folder of headers that come first
    for name in max_clique has_clique; do
        compile "$1/clique/$name.cu" "$name.o" "$sanitize ${4:-} -x c++ -include tests/simt/simt.hpp"
    done
    # shellcheck disable=SC2086
    $cxx $flags $sanitize "$out/max_clique.o" "$out/has_clique.o" "$out"/cpu-*.o "$out/simt.o" "$out/$2.o" -o "$out/$3"
}
rm -f "$out"/cpu-*.o
# The CPU solver is the reference here; its own tests run under sanitizers already.
for source in clique/*.cpp runtime/thread_pool.cpp runtime/interrupt.cpp; do
    compile "$source" "cpu-$(echo "$source" | tr / -).o" ""
done
compile tests/simt/simt.cpp simt.o "$runtime"
for test in test_max_clique test_has_clique; do
    compile tests/simt/$test.cpp $test.o "$sanitize"
    kernels . $test $test
    "$out/$test" $schedules $small
done

planted() { # name, what the output must show, sed command, test
    mkdir -p "$out/$1/clique"
    changed=""
    for source in max_clique.cu has_clique.cu warp_solver.hpp warp_search.hpp; do
        sed "$3" clique/$source >"$out/$1/clique/$source"
        cmp -s clique/$source "$out/$1/clique/$source" || changed=1
    done
    if [ -z "$changed" ]; then
        echo "FAILED: planting '$1' changed nothing: the kernel was rewritten, fix tests/simt/run.sh" >&2
        exit 1
    fi
    kernels "$out/$1" "${4:-test_max_clique}" "planted-$1" "-I$out/$1"
    if "$out/planted-$1" 1 1 >"$out/$1.log" 2>&1 || ! grep -q "$2" "$out/$1.log"; then
        echo "FAILED: the planted fault '$1' was not caught as '$2', see $out/$1.log" >&2
        exit 1
    fi
    echo "planted fault caught: $1 ($2)"
}
lost='s/atomicAdd(launch.ticket, 1ull)/[\&] { const auto t = *launch.ticket; simt::maybe_yield(); *launch.ticket = t + 1; return t; }()/'
case $mode in
plain)
    planted lost-update "each graph was taken once" "$lost"
    planted taken-twice "each graph was taken once" 's/block->place = atomicAdd(question.ticket, 1ull)/block->place = *question.ticket; simt::maybe_yield(); *question.ticket = block->place + 1/' test_has_clique
    planted unsorted-branches "FAILED: random" 's/core \& ~(branching \& ~rest)/core \& ~branching/' test_has_clique
    planted upper-half "FAILED" 's/higher >= question.min_size - 1/higher > question.min_size - 1/' test_has_clique
    planted half-a-core "FAILED" 's/stays = neighbours<kWords>(row, 0,/stays = neighbours<kWords>(row, group,/' test_has_clique
    planted barrier-in-one-warp "__syncthreads reached at different places\|simt:" 's/        if (kSharedRows) {/        if (kSharedRows \&\& thread < 32) {/' test_has_clique
    planted diverged-lanes "lanes meet in different collectives" 's/if (lane_ == 0) bound_at_/if (lane_ == 0) __syncwarp();\n        &/'
    ;;
asan)
    planted shared-overrun "heap-buffer-overflow" 's/level_words(words) + depth;/level_words(words) + 0 * depth;/'
    planted levels-overrun "heap-buffer-overflow" 's/kBlockWords + rows + kSearchWarps/kBlockWords + rows + (kSearchWarps - 1)/' test_has_clique
    ;;
tsan)
    planted missing-barrier "data race" '/chosen_\[depth\] =/{n;d;}'
    planted lost-update "data race" "$lost"
    planted rows-too-early "data race" '/rows\[i\] = __ldg(global + i);/{n;d;}' test_has_clique
    planted core-too-early "data race" '/all lanes have read the old word/d' test_has_clique
    ;;
esac
