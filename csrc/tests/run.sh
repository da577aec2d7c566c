#!/bin/sh
# Builds the native tests and runs them: run.sh [plain|asan|tsan|aarch64|fuzz [SECONDS]]. Objects go to
# build/native-tests/ of the repository. aarch64 cross-compiles (g++-aarch64-linux-gnu) and runs under emulation
# (qemu-user); fuzz runs libFuzzer on the C ABI (clang).
set -eu
cd "$(dirname "$0")/.."
mode=${1:-plain}
machine=$(uname -m)
cxx=${CXX:-g++}
optimise=-O1
sanitize="" link="" emulator=""
case $mode in
plain) ;;
asan) sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all" ;;
tsan) sanitize="-fsanitize=thread" ;;
aarch64)
    machine=aarch64
    cxx=aarch64-linux-gnu-g++
    optimise=-O3 # as in a wheel: what is emulated is what would run
    link=-static # so that the emulator needs no other machine's libraries
    emulator=qemu-aarch64
    for tool in $cxx $emulator; do
        command -v $tool >/dev/null || {
            echo "run.sh aarch64: $tool is missing: apt-get install g++-aarch64-linux-gnu qemu-user" >&2
            exit 3
        }
    done
    ;;
fuzz)
    cxx=clang++
    sanitize="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"
    link="-fsanitize=fuzzer"
    command -v $cxx >/dev/null || {
        echo "run.sh fuzz: clang++ is missing: apt-get install clang libclang-rt-dev" >&2
        exit 3
    }
    ;;
*)
    echo "usage: run.sh [plain|asan|tsan|aarch64|fuzz [SECONDS]]" >&2
    exit 2
    ;;
esac
out=../build/native-tests/$mode
mkdir -p "$out"
flags="-std=c++20 $optimise -g -pthread -ffp-contract=off -Wall -Wextra -Werror -Wno-psabi -I. -Itests $sanitize"
case $machine in
x86_64) isas="avx2 avx512vnni" ;;
aarch64 | arm64) isas="neon_dotprod" ;;
*) isas="" ;;
esac
for isa in $isas; do
    flags="$flags -DMEMCORE_HAVE_$(echo "$isa" | tr '[:lower:]' '[:upper:]')=1"
done

isa_flags() {
    case $1 in
    */avx2.cpp) echo "-mavx2 -mfma" ;;
    */avx512vnni.cpp) echo "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma" ;;
    */neon_dotprod.cpp) echo "-march=armv8.2-a+dotprod" ;;
    esac
}
object() { echo "$out/$(echo "$1" | tr / _).o"; }

sources="" programs="native_tests test_clique test_capi"
[ $mode = fuzz ] && programs=fuzz_capi
for source in tiled_l2/*.cpp block_bounds/*.cpp knn/*.cpp runtime/*.cpp clique/*.cpp arguments/*.cpp capi/*.cpp; do
    case $source in
    */avx2.cpp | */avx512vnni.cpp | */neon_dotprod.cpp)
        isa=$(basename "$source" .cpp)
        case " $isas " in *" $isa "*) ;; *) continue ;; esac
        ;;
    esac
    sources="$sources $source"
done
commands=$(for source in $sources $(printf 'tests/%s.cpp ' $programs); do
    echo "$cxx $flags $(isa_flags "$source") -c $source -o $(object "$source")"
done)
echo "$commands" | xargs -P "${JOBS:-2}" -I{} sh -c '{}'

shared=$(for source in $sources; do object "$source"; done)
status=0
for program in $programs; do
    # shellcheck disable=SC2086
    $cxx $flags $link $shared "$(object "tests/$program.cpp")" -o "$out/$program"
    case $mode in
    fuzz) "$out/$program" -max_total_time="${2:-60}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 || status=1 ;;
    *) $emulator "$out/$program" || status=1 ;;
    esac
done
if [ $mode = aarch64 ]; then
    # The dispatch must find the dot product where the CPU has it, and must not where it has not.
    $emulator -cpu max "$out/native_tests" --isas | grep -qx "scalar neon_dotprod" || {
        echo "dot product not found on a CPU that has it" >&2
        status=1
    }
    $emulator -cpu cortex-a53 "$out/native_tests" --isas | grep -qx scalar || {
        echo "dot product found on a CPU without it" >&2
        status=1
    }
fi
exit $status
