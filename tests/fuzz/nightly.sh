#!/usr/bin/env bash
# Fuzzes at length what reads files of strangers: nightly.sh [LIBFUZZER_RUNS [ATHERIS_RUNS]]
# libFuzzer, with the address and undefined-behaviour sanitizers, runs the native parsers and the sampler, Atheris the
# readers in Python. Needs clang and `pip install atheris`. What it finds is left in build/fuzz.
set -euo pipefail
cd "$(dirname "$0")/../.."
native_runs="${1:-10000000}"
reader_runs="${2:-100000}"
root="$PWD" work="$PWD/build/fuzz"
mkdir -p "$work"

clang="$(command -v clang++ || command -v clang++-14)"
cmake -S . -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFASTPOSE_BUILD_TESTS=ON \
  -DFASTPOSE_BUILD_EXTENSION=OFF -DCMAKE_CXX_COMPILER="$clang" >/dev/null
cmake --build "$work/build" --target fuzz_skeleton fuzz_pickle fuzz_sampler >/dev/null

fuzz_native() {  # target runs [option]…
  mkdir -p "$work/$1/corpus"
  python tests/fuzz/native_corpus.py "$1" "$work/$1/corpus"
  (
    cd "$work/$1"
    "$work/build/tests/cpp/fuzz_$1" -runs="$2" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
      -print_final_stats=1 "${@:3}" corpus
  )
}

fuzz_native skeleton "$native_runs" -dict="$root/tests/cpp/skeleton.dict"
fuzz_native pickle "$native_runs"
fuzz_native sampler "$((native_runs / 50))" -len_control=0

for target in $(python tests/fuzz/run.py --targets); do
  mkdir -p "$work/$target-reader"
  (
    cd "$work/$target-reader"
    python "$root/tests/fuzz/run.py" "$target" -runs="$reader_runs" -verbosity=0 -print_final_stats=1
  )
done
