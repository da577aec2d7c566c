#!/bin/sh
# Runs csrc/clique/max_clique.cu on the CPU, each CUDA thread a fiber, against the CPU solver; then with faults
# planted in it, each of which must be caught: run.sh [plain|asan|tsan]. Objects go to build/simt/.
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
kernel() { # source, program, folder of headers that come first
    compile "$1" kernel.o "$sanitize ${3:-} -x c++ -include tests/simt/simt.hpp"
    # shellcheck disable=SC2086
    $cxx $flags $sanitize "$out/kernel.o" "$out"/cpu-*.o "$out/simt.o" "$out/test.o" -o "$out/$2"
}
rm -f "$out"/cpu-*.o
# The CPU solver is the reference here; its own tests run under sanitizers already.
for source in clique/*.cpp runtime/thread_pool.cpp runtime/interrupt.cpp; do
    compile "$source" "cpu-$(echo "$source" | tr / -).o" ""
done
compile tests/simt/simt.cpp simt.o "$runtime"
compile tests/simt/test_max_clique.cpp test.o "$sanitize"
kernel clique/max_clique.cu test_max_clique
"$out/test_max_clique" $schedules $small

planted() { # name, what the output must show, sed command
    mkdir -p "$out/$1/clique"
    for source in max_clique.cu warp_solver.hpp; do
        sed "$3" clique/$source >"$out/$1/clique/$source"
    done
    if cmp -s clique/max_clique.cu "$out/$1/clique/max_clique.cu" &&
        cmp -s clique/warp_solver.hpp "$out/$1/clique/warp_solver.hpp"; then
        echo "FAILED: planting '$1' changed nothing: the kernel was rewritten, fix tests/simt/run.sh" >&2
        exit 1
    fi
    kernel "$out/$1/clique/max_clique.cu" "planted-$1" "-I$out/$1"
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
    planted diverged-lanes "lanes meet in different collectives" 's/if (lane_ == 0) bound_at_/if (lane_ == 0) __syncwarp();\n        &/'
    ;;
asan) planted shared-overrun "heap-buffer-overflow" 's/level_words(words) + n;/level_words(words);/' ;;
tsan)
    planted missing-barrier "data race" '/chosen_\[depth\] =/{n;d;}'
    planted lost-update "data race" "$lost"
    ;;
esac
