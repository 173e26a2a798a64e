// Runs code compiled for the best instructions that this CPU has.
#pragma once

#include <type_traits>

namespace fastpose {

enum class Instructions { kBaseline, kAvx2, kAvx512, kAvx512BFloat16 };

// The most that this CPU has and limit_instructions() allows.
Instructions best_instructions() noexcept;

// From now on, in all threads. Tests compare what the sets compute.
void limit_instructions(Instructions most) noexcept;

// What a loop may assume. Vectors have 32 bytes: with 64, a Zen 4 core was no faster, and code for AVX2 three
// times slower; products alone, whose rate doubles on other processors, have 64 for Avx512Target. kSums:
// vectors of running sums that registers hold; kGradients: the same where as many inputs and the sums of
// three weights share them. kWidens: 16 to 32 bits in an instruction.
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
struct Avx512Target : Avx2Target {
  static constexpr int kVectorRegisters = 32;
};
struct Avx512BFloat16Target {
  static constexpr int kVectorRegisters = 32;
  static constexpr int kSums = 9;
  static constexpr int kGradients = 7;
  static constexpr bool kWidens = true;
  static constexpr bool kRoundsToBFloat16 = true;
};

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
__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"), flatten)) void run_avx512_products(
    Body& body) {
  body.template run<Avx512Target>();
}

// Calls body.run<Target>(); `Most` is the last target from which the body gains anything.
template <class Most = Avx512BFloat16Target, class Body>
void run_on_best_target(Body& body) {
  const Instructions best = best_instructions();
  if constexpr (std::is_same_v<Most, Avx512BFloat16Target>) {
    if (best == Instructions::kAvx512BFloat16) return run_avx512(body);
  }
  if (best >= Instructions::kAvx2) return run_avx2(body);
  body.template run<BaselineTarget>();
}

// Calls body.run<Target>() for a target that this CPU has.
template <class Target, class Body>
void run_on_target(Body& body) {
  if constexpr (std::is_same_v<Target, Avx512Target>) {
    run_avx512_products(body);
  } else if constexpr (std::is_same_v<Target, Avx2Target>) {
    run_avx2(body);
  } else {
    body.template run<BaselineTarget>();
  }
}

// Calls body(target) with the best one for products of float32, without compiling it for that target.
template <class Body>
void with_product_target(const Body& body) {
  const Instructions best = best_instructions();
  if (best >= Instructions::kAvx512) return body(Avx512Target{});
  if (best >= Instructions::kAvx2) return body(Avx2Target{});
  body(BaselineTarget{});
}

#else

template <class Target, class Body>
void run_on_target(Body& body) {
  body.template run<BaselineTarget>();
}

template <class Body>
void with_product_target(const Body& body) {
  body(BaselineTarget{});
}

template <class Most = Avx512BFloat16Target, class Body>
void run_on_best_target(Body& body) {
  body.template run<BaselineTarget>();
}

#endif

}  // namespace fastpose
