// Limits a test to the set of instructions that its first argument names.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/instructions.hpp"
#include "check.hpp"

inline constexpr int kSkipped = 77;  // as tests/cpp/CMakeLists.txt has it

inline void use_instructions(int argc, char** argv) {
  using fastpose::Instructions;
  const std::string_view name = argc > 1 ? argv[1] : "";
  CHECK(name == "baseline" || name == "avx2" || name == "avx512" || name == "avx512_bf16");
  const Instructions wanted = name == "baseline" ? Instructions::kBaseline
                              : name == "avx2"   ? Instructions::kAvx2
                              : name == "avx512" ? Instructions::kAvx512
                                                 : Instructions::kAvx512BFloat16;
  fastpose::limit_instructions(wanted);
  if (fastpose::best_instructions() == wanted) return;
  std::printf("this CPU has no %s\n", argv[1]);
  std::exit(kSkipped);
}
