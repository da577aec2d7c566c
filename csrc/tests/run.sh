#!/bin/sh
# Builds the native tests and runs them: run.sh [plain|asan|tsan|aarch64|windows|fuzz [SECONDS]|fuzzers FOLDER]. Objects
# go to build/native-tests/ of the repository. aarch64 cross-compiles (g++-aarch64-linux-gnu) and runs under emulation
# (qemu-user); windows cross-compiles with clang (lld, g++-mingw-w64-x86-64-posix) and runs under wine64; fuzz runs
# libFuzzer on the C ABI and on sketches (clang). fuzzers only builds these, into FOLDER, by CXX, CXXFLAGS and
# LIB_FUZZING_ENGINE, as OSS-Fuzz sets them.
set -eu
cd "$(dirname "$0")/.."
mode=${1:-plain}
machine=$(uname -m)
cxx=${CXX:-g++}
optimise=-O1
sanitize="" link="" emulator="" suffix="" strict=-Werror
need() { # command, package
    command -v "$1" >/dev/null || {
        echo "run.sh $mode: $1 is missing: apt-get install $2" >&2
        exit 3
    }
}
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
    need $cxx g++-aarch64-linux-gnu
    need $emulator qemu-user
    ;;
windows)
    machine=x86_64
    optimise=-O2
    need clang++ clang
    need ld.lld lld
    need x86_64-w64-mingw32-g++-posix g++-mingw-w64-x86-64-posix
    emulator=/usr/lib/wine/wine64
    need $emulator wine64
    gcc=$(dirname "$(x86_64-w64-mingw32-g++-posix -print-libgcc-file-name)")
    headers="-stdlib++-isystem $gcc/include/c++ -cxx-isystem $gcc/include/c++/x86_64-w64-mingw32"
    cxx="clang++ --target=x86_64-w64-windows-gnu $headers -DMEMCORE_BUILD -Wno-unused-command-line-argument"
    link="-static -L$gcc -fuse-ld=lld -lpthread"
    suffix=.exe
    export WINEDEBUG=-all WINEPREFIX="${TMPDIR:-/tmp}/memcore-wine.$(id -u)"
    ;;
fuzz)
    cxx=clang++
    sanitize="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"
    link="-fsanitize=fuzzer"
    need $cxx "clang libclang-rt-dev"
    ;;
fuzzers)
    folder=${2:?FOLDER is missing}
    strict="" # the compiler is whatever OSS-Fuzz has today
    sanitize=${CXXFLAGS-}
    link=${LIB_FUZZING_ENGINE:?LIB_FUZZING_ENGINE is not set}
    ;;
*)
    echo "usage: run.sh [plain|asan|tsan|aarch64|windows|fuzz [SECONDS]|fuzzers FOLDER]" >&2
    exit 2
    ;;
esac
out=../build/native-tests/$mode
mkdir -p "$out"
flags="-std=c++20 $optimise -g1 -pthread -ffp-contract=off -Wall -Wextra $strict -Wno-psabi -I. -Itests $sanitize"
family=$(echo "$machine" | sed 's/^arm64$/aarch64/' | tr '[:lower:]' '[:upper:]')
table=instruction_sets.def # the one that setup.py reads as well
isas=" $(sed -n "s/^MEMCORE_$family(\([a-z0-9_]*\),.*/\1/p" $table | tr '\n' ' ')"
isa_of() { basename "$1" .cpp; } # a file named after a row of the table is that instruction set's
isa_flags() { sed -n "s/^MEMCORE_[A-Z0-9_]*($(isa_of "$1"),.*\"\(.*\)\")\$/\1/p" $table; }
object() { echo "$out/$(echo "$1" | tr / _).o"; }

sources=""
programs="native_tests test_sketches test_clique test_interrupt test_capi test_capi_batches test_capi_graphs test_cancel"
case $mode in fuzz*) programs="fuzz_capi fuzz_sketches" ;; esac
# All folders but the bindings, which need Python.
for source in $(find . -name '*.cpp' ! -path './tests/*' ! -path './bind/*' | sed 's|^\./||' | sort); do
    # Another machine's instruction sets are left out.
    if [ -n "$(isa_flags "$source")" ]; then
        case $isas in *" $(isa_of "$source") "*) ;; *) continue ;; esac
    fi
    sources="$sources $source"
done
compile() { # a program in plain C shows that the header is one
    case $1 in
    *.c) echo "$cxx -x c $(echo "$flags" | sed 's/c++20/c11/') -c $1 -o $(object "$1")" ;;
    *) echo "$cxx $flags $(isa_flags "$1") -c $1 -o $(object "$1")" ;;
    esac
}
program_sources=$(for program in $programs; do ls "tests/$program".c*; done)
commands=$(for source in $sources $program_sources; do compile "$source"; done)
echo "$commands" | xargs -P "${JOBS:-2}" -I{} sh -c '{}'

shared=$(for source in $sources; do object "$source"; done)
status=0
for program in $programs; do
    # shellcheck disable=SC2086
    $cxx $flags $shared "$(object "$(ls "tests/$program".c*)")" $link -o "$out/$program$suffix"
    case $mode in
    fuzzers) cp "$out/$program" "$folder/" ;;
    fuzz) "$out/$program" -max_total_time="${2:-60}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 || status=1 ;;
    *) $emulator "$out/$program$suffix" || status=1 ;;
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
