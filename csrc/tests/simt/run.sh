#!/bin/sh
# Runs csrc/clique/*.cu on the CPU, each CUDA thread a fiber, against the CPU solver; then with faults planted in
# them, each of which must be caught: run.sh [plain|asan|tsan]. Objects go to build/simt/.
set -eu
cd "$(dirname "$0")/../.."
mode=${1:-plain}
case $mode in
plain) sanitize="" runtime="" schedules=6 small=0 ;;
asan) sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all" runtime="-DSIMT_ASAN" schedules=2 small=1 ;;
tsan)
    sanitize="-fsanitize=thread" runtime="-DSIMT_TSAN" schedules=1 small=1
    export TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS-}" # the first race fails the test, and shows a planted fault
    ;;
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
cpu=../build/simt/cpu
mkdir -p "$out" "$cpu"
rm -f "$out"/*.o
flags="-std=c++20 -O1 -g1 -pthread -Wall -Wextra -Werror -Wno-psabi -I."
cxx=${CXX:-g++}
jobs=${JOBS:-2}
pids="" running=0 failed=0
collect() { # waits for what runs beside this script
    for pid in $pids; do wait "$pid" || failed=1; done
    pids="" running=0
}
beside() { # a command, run beside this script; $jobs at a time
    "$@" &
    pids="$pids $!" running=$((running + 1))
    [ $running -lt "$jobs" ] || collect
}
all_done() {
    collect
    [ $failed = 0 ] || exit 1
}
compile() { # source, object, flags
    # shellcheck disable=SC2086
    $cxx $3 $flags -c "$1" -o "$2"
}
kernel() { # a clique/*.cu, object, folder of headers that come first
    compile "$1" "$2" "$sanitize ${3:-} -x c++ -include tests/simt/simt.hpp"
}
link() { # the objects of the kernels, test, program
    # shellcheck disable=SC2086
    $cxx $flags $sanitize $1 "$cpu"/*.o "$out/simt.o" "$out/$2.o" -o "$3"
}
# The CPU solver is the reference here; its own tests run under sanitizers already. All modes link the same objects.
if [ ! -f "$cpu/made" ] || [ -n "$(find . -newer "$cpu/made" -type f | head -n 1)" ]; then
    rm -f "$cpu"/*
    touch "$cpu/begun"
    for source in clique/*.cpp runtime/thread_pool.cpp runtime/interrupt.cpp; do
        beside compile "$source" "$cpu/$(echo "$source" | tr / -).o" ""
    done
    all_done
    mv "$cpu/begun" "$cpu/made" # as old as the beginning: what was changed since is compiled again
fi
beside compile tests/simt/simt.cpp "$out/simt.o" "$runtime"
for name in max_clique has_clique; do
    beside kernel clique/$name.cu "$out/$name.o"
    beside compile tests/simt/test_$name.cpp "$out/test_$name.o" "$sanitize"
done
all_done
for test in test_max_clique test_has_clique; do
    link "$out/max_clique.o $out/has_clique.o" $test "$out/$test"
    beside "$out/$test" $schedules $small
done
all_done

plant() { # name, what the output must show, sed command, test
    place=$out/planted-$1
    mkdir -p "$place/clique"
    changed=""
    for source in max_clique.cu has_clique.cu warp_solver.hpp warp_search.hpp; do
        sed "$3" clique/$source >"$place/clique/$source"
        cmp -s clique/$source "$place/clique/$source" || changed="$changed $source"
    done
    if [ -z "$changed" ]; then
        echo "FAILED: planting '$1' changed nothing: the kernel was rewritten, fix tests/simt/run.sh" >&2
        exit 1
    fi
    objects=""
    for name in max_clique has_clique; do
        case $changed in
        " max_clique.cu" | " has_clique.cu") # the other kernel is the one that was tested above
            if [ "$changed" != " $name.cu" ]; then
                objects="$objects $out/$name.o"
                continue
            fi
            ;;
        esac
        kernel "$place/clique/$name.cu" "$place/$name.o" "-I$place"
        objects="$objects $place/$name.o"
    done
    link "$objects" "${4:-test_max_clique}" "$place/program"
    if "$place/program" 1 1 >"$out/$1.log" 2>&1 || ! grep -q "$2" "$out/$1.log"; then
        echo "FAILED: the planted fault '$1' was not caught as '$2', see $out/$1.log" >&2
        exit 1
    fi
    echo "planted fault caught: $1 ($2)"
}
planted() { beside plant "$@"; }
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
all_done
