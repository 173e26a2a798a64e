// Runs code compiled for the widest vectors that this CPU has.
#pragma once

#include <type_traits>

namespace fastpose {

// Registers of 64 bytes that a loop's running sums may take.
inline constexpr int kBaselineSums = 2;
inline constexpr int kAvx2Sums = 4;
inline constexpr int kAvx512Sums = 9;

#if defined(__x86_64__)

// `flatten` inlines all of the body, so that it is compiled for the wider vectors.
template <class Body>
__attribute__((target("avx2,fma"), flatten)) void run_avx2(Body& body) {
  body.template run<kAvx2Sums>();
}

template <class Body>
__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"), flatten)) void run_avx512(Body& body) {
  body.template run<kAvx512Sums>();
}

template <class Body>
void run_on_widest_target(Body& body) {
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    run_avx512(body);
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    run_avx2(body);
  } else {
    body.template run<kBaselineSums>();
  }
}

#else

template <class Body>
void run_on_widest_target(Body& body) {
  body.template run<kBaselineSums>();
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
