// Runs code compiled for the best instructions that this CPU has.
#pragma once

#include <type_traits>

namespace fastpose {

// What a loop may assume. Vectors have 32 bytes: with 64, a Zen 4 core was no faster, and code for AVX2 three
// times slower. kSums: vectors of running sums that registers hold; kGradients: the same where as many inputs
// and the sums of three weights share them. kWidens: 16 to 32 bits in an instruction.
struct BaselineTarget {
  static constexpr int kVectorRegisters = 16;
  static constexpr int kSums = 2;
  static constexpr int kGradients = 1;
  static constexpr bool kWidens = false;
  static constexpr bool kRoundsToBFloat16 = false;
};
struct Avx2Target {
  static constexpr int kVectorRegisters = 16;
  static constexpr int kSums = 9;
  static constexpr int kGradients = 4;
  static constexpr bool kWidens = true;
  static constexpr bool kRoundsToBFloat16 = false;
};
struct Avx512BFloat16Target {
  static constexpr int kVectorRegisters = 32;
  static constexpr int kSums = 9;
  static constexpr int kGradients = 7;
  static constexpr bool kWidens = true;
  static constexpr bool kRoundsToBFloat16 = true;
};

// The most that is used of what the CPU has: 0 baseline, 1 AVX2, 2 AVX-512. Tests lower it.
#if !defined(FASTPOSE_MOST_TARGET)
#define FASTPOSE_MOST_TARGET 2
#endif

#if defined(__x86_64__)

// `flatten` inlines all of the body, so that it is compiled for the wider vectors.
template <class Body>
__attribute__((target("avx2,fma"), flatten)) void run_avx2(Body& body) {
  body.template run<Avx2Target>();
}

template <class Body>
__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"), flatten)) void run_avx512(Body& body) {
  body.template run<Avx512BFloat16Target>();
}

template <class Body>
void run_on_best_target(Body& body) {
  if (FASTPOSE_MOST_TARGET >= 2 && __builtin_cpu_supports("avx512bf16") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq")) {
    run_avx512(body);
  } else if (FASTPOSE_MOST_TARGET >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    run_avx2(body);
  } else {
    body.template run<BaselineTarget>();
  }
}

#else

template <class Body>
void run_on_best_target(Body& body) {
  body.template run<BaselineTarget>();
}

#endif

// Calls body(std::integral_constant<int, count>{}) for 1 <= count <= kMost.
template <int kMost, class Body>
void with_constant(int count, const Body& body) {
  if constexpr (kMost > 1) {
    if (count < kMost) {
      with_constant<kMost - 1>(count, body);
      return;
    }
  }
  body(std::integral_constant<int, kMost>{});
}

}  // namespace fastpose
