#!/usr/bin/env bash
# Builds with sanitizers and runs the tests that they are for: run.sh address|thread
# address: the extension, with the address and undefined-behaviour sanitizers, under the tests of operators, sampling,
# packs and readers. thread: the C++ tests of the thread pool, packer, sampler and operators; OpenMP's are left out,
# whose library the sanitizer does not know. Needs clang, which is many times faster at this than GCC.
set -euo pipefail
cd "$(dirname "$0")/../.."
kind="${1:?address or thread}"
build="$PWD/build/sanitize-$kind"
clang="$(command -v clang++ || command -v clang++-14)"

make() {  # sanitizers targets [definition]…
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" \
    -DCMAKE_CXX_COMPILER="$clang" -DFASTPOSE_SANITIZE="$1" "${@:3}" >"$build.log"
  # shellcheck disable=SC2086
  cmake --build "$build" --target $2 >"$build.log" || { cat "$build.log"; exit 1; }
}

mkdir -p build
case "$kind" in
  address)
    package="$build/package/fastpose"  # links to this one, and an extension of its own
    make address,undefined _C -DCMAKE_MODULE_LINKER_FLAGS=-shared-libasan -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$package" \
      -DPython_EXECUTABLE="$(command -v python)" -Dpybind11_DIR="$(python -m pybind11 --cmakedir)"
    for entry in fastpose/*; do
      [[ $entry == *.so || $entry == */__pycache__ ]] || ln -sfn "$PWD/$entry" "$package/"
    done
    # Python itself is not built with the sanitizers, so they must be there before it, and its leaks are none of ours.
    runtime="$("$clang" -print-file-name=libclang_rt.asan-x86_64.so)"
    env PYTHONPATH="$build/package${PYTHONPATH:+:$PYTHONPATH}" FASTPOSE_REQUIRE_EXTENSION=1 \
      LD_PRELOAD="$runtime $(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
      UBSAN_OPTIONS=print_stacktrace=1 \
      python -P -m pytest -p no:cacheprovider -m "not gpu" -x tests/ops tests/data/sampling tests/data/pack \
      tests/data/sources tests/fuzz
    ;;
  thread)
    make thread "core_tests concurrent_tests same_bits_tests" -DFASTPOSE_BUILD_TESTS=ON -DFASTPOSE_BUILD_EXTENSION=OFF
    export TSAN_OPTIONS=halt_on_error=1
    "$build/tests/cpp/core_tests" without_fork
    "$build/tests/cpp/concurrent_tests"
    "$build/tests/cpp/same_bits_tests" baseline
    echo "the thread sanitizer saw no race"
    ;;
  *)
    echo "no sanitizer $kind: address or thread"
    exit 2
    ;;
esac
