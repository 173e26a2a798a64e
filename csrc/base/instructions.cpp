#include "base/instructions.hpp"

#include <algorithm>
#include <atomic>

namespace fastpose {
namespace {

Instructions instructions_of_this_cpu() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Instructions::kBaseline;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq")) {
    return Instructions::kAvx2;
  }
  return __builtin_cpu_supports("avx512bf16") ? Instructions::kAvx512BFloat16 : Instructions::kAvx512;
#else
  return Instructions::kBaseline;
#endif
}

std::atomic<Instructions> limit{Instructions::kAvx512BFloat16};

}  // namespace

Instructions best_instructions() noexcept {
  static const Instructions present = instructions_of_this_cpu();
  return std::min(present, limit.load(std::memory_order_relaxed));
}

void limit_instructions(Instructions most) noexcept {
  limit = most;
}

}  // namespace fastpose
