// A number of run time as one of compile time.
#pragma once

#include <type_traits>

namespace fastpose {

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
