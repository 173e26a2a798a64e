// Loops over the channels of a row, eight at a time and the rest one by one.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/floats.hpp"

namespace fastpose {

inline constexpr std::int64_t kRowsAtOnce = 8;  // for which sums of a channel stay in registers

// Calls body(channel, std::type_identity<Floats>{}) for each eight channels, and with float for each of the
// rest: the type of what it is to compute with.
template <class Body>
inline __attribute__((always_inline)) void each_channel(std::int64_t channels, const Body& body) {
  std::int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) body(c, std::type_identity<Floats>{});
  for (; c < channels; ++c) body(c, std::type_identity<float>{});
}

inline __attribute__((always_inline)) void get(const float* from, Floats& lanes) {
  std::memcpy(&lanes, from, sizeof(lanes));
}
inline __attribute__((always_inline)) void get(const float* from, float& value) {
  value = *from;
}
inline __attribute__((always_inline)) void put(const Floats& lanes, float* to) {
  std::memcpy(to, &lanes, sizeof(lanes));
}
inline __attribute__((always_inline)) void put(const float& value, float* to) {
  *to = value;
}

// To at least `floor`; NaN stays.
template <class Lanes>
inline __attribute__((always_inline)) void raise(Lanes& value, float floor) {
  const Lanes floors = Lanes{} + floor;
  value = value < floors ? floors : value;
}

}  // namespace fastpose
