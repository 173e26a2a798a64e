#!/usr/bin/env bash
# Builds and runs the C++ tests, then fuzzes each parser for about SECONDS: run.sh [SECONDS]
# What the machine has no compiler or emulator for is not run, which is said.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds="${1:-10}"
# As deep as setup.py's build folders, so that ccache finds the core's objects where both see the same sources.
builds="$PWD/build/tests-$$"
work="$(mktemp -d)"
trap 'rm -rf "$work" "$builds"-*' EXIT
export CCACHE_BASEDIR="$PWD"
if command -v ccache >/dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi

build() {  # folder targets [definition]…
  local folder="$builds-$1" targets="$2" log="$work/$1.log" started=$SECONDS
  cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFASTPOSE_BUILD_TESTS=ON \
    -DFASTPOSE_BUILD_EXTENSION=OFF -DCMAKE_COMPILE_WARNING_AS_ERROR=ON "${@:3}" >"$log"
  # shellcheck disable=SC2086
  cmake --build "$folder" --target $targets >"$log" || { cat "$log"; exit 1; }
  echo "$1: built in $((SECONDS - started)) s"
}

build default all  # by the compiler that builds the extension, whose objects ccache then has
ctest --test-dir "$builds-default" --output-on-failure

corpus=()
if [ -d "${FASTPOSE_SHARED:-}/oracles/skeleton_files" ]; then
  corpus=("$FASTPOSE_SHARED"/oracles/skeleton_files/*.skeleton)
fi
echo "mutating fuzzer, address and undefined-behaviour sanitizers:"
"$builds-default/tests/cpp/fuzz_skeleton_seeded" $((seconds / 2)) 2 "${corpus[@]}"

clang="$(command -v clang++ || command -v clang++-14 || true)"
if [ -n "$clang" ]; then
  build clang "fuzz_skeleton fuzz_pickle" -DCMAKE_CXX_COMPILER="$clang"  # libFuzzer knows libstdc++ alone
  mkdir "$work/corpus"
  [ ${#corpus[@]} -eq 0 ] || cp "${corpus[@]}" "$work/corpus"
  echo "libFuzzer:"
  "$builds-clang/tests/cpp/fuzz_skeleton" -max_total_time=$((seconds - seconds / 2)) -max_len=400000 \
    -print_final_stats=1 -verbosity=0 "$work/corpus" 2>&1 | tail -n 8
  "$builds-clang/tests/cpp/fuzz_pickle" -max_total_time=$((seconds / 2)) -print_final_stats=1 -verbosity=0 2>&1 |
    tail -n 8
else
  echo "no clang: libFuzzer not run"
fi

if [ -n "$clang" ] && echo '#include <charconv>' | "$clang" -stdlib=libc++ -x c++ -fsyntax-only - 2>/dev/null; then
  build libc++ core_tests -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_CXX_FLAGS=-stdlib=libc++
  "$builds-libc++/tests/cpp/core_tests"
else
  echo "no clang with libc++: not built with it"
fi

if ! command -v aarch64-linux-gnu-g++ >/dev/null; then
  echo "no aarch64-linux-gnu-g++: not built for 64-bit ARM"
elif ! command -v qemu-aarch64 >/dev/null; then
  build aarch64 all --toolchain tests/cpp/aarch64.cmake
  echo "no qemu-aarch64: its tests not run"
else
  build aarch64 all --toolchain tests/cpp/aarch64.cmake
  ctest --test-dir "$builds-aarch64" --output-on-failure
fi
