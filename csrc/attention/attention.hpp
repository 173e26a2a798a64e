// Softmax attention within many short sequences, on queries, keys and values side by side, and its gradient.
#pragma once

#include <cstdint>

#include "base/element_type.hpp"

namespace fastpose {

// Tokens are [outer, length, inner]; each of the outer · inner sequences runs over `length`.
struct Attention {
  std::int64_t outer;
  std::int64_t length;
  std::int64_t inner;
  std::int64_t heads;
  std::int64_t dim;     // of a head; products of queries and keys are scaled by dim^-1/2
  ElementType element;  // kFloat32 or kBFloat16; arithmetic is float32
  int threads;          // of the pool; results are bitwise identical for any number
};

// qkv is [tokens, 3, heads, dim], output [tokens, heads, dim]. Every element of the result is written. False:
// out of memory, the result is partly written. Safe to call from several threads at once. Scratch memory per
// thread grows as length².
[[nodiscard]] bool attend(const Attention& attention, const void* qkv, void* output) noexcept;

[[nodiscard]] bool attend_backward(const Attention& attention, const void* qkv, const void* output_gradient,
                                   void* qkv_gradient) noexcept;

}  // namespace fastpose
