#!/usr/bin/env bash
# Builds and runs the C++ tests, then fuzzes the parser for SECONDS in all: run.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds="${1:-10}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

configure() {  # folder compiler [target]…
  cmake -S . -B "$work/$1" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$2" \
    -DFASTPOSE_BUILD_TESTS=ON -DFASTPOSE_BUILD_EXTENSION=OFF -DCMAKE_COMPILE_WARNING_AS_ERROR=ON >/dev/null
  cmake --build "$work/$1" ${3:+--target "${@:3}"} >"$work/$1.log" || { cat "$work/$1.log"; exit 1; }
}

configure gcc g++
ctest --test-dir "$work/gcc" --output-on-failure

corpus=()
if [ -d "${FASTPOSE_SHARED:-}/oracles/skeleton_files" ]; then
  corpus=("$FASTPOSE_SHARED"/oracles/skeleton_files/*.skeleton)
fi
echo "mutating fuzzer, address and undefined-behaviour sanitizers:"
"$work/gcc/tests/cpp/fuzz_skeleton_seeded" $((seconds / 2)) 2 "${corpus[@]}"

clang="$(command -v clang++ || command -v clang++-14 || true)"
if [ -n "$clang" ]; then
  configure clang "$clang" fastpose_core fuzz_skeleton
  mkdir "$work/corpus"
  [ ${#corpus[@]} -eq 0 ] || cp "${corpus[@]}" "$work/corpus"
  echo "libFuzzer:"
  "$work/clang/tests/cpp/fuzz_skeleton" -max_total_time=$((seconds - seconds / 2)) -max_len=400000 \
    -print_final_stats=1 -verbosity=0 "$work/corpus" 2>&1 | tail -n 8
else
  echo "no clang: libFuzzer not run"
fi
