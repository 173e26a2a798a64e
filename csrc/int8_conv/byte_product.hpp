// Products of rows of bytes with matrices of signed bytes, for convolutions tap by tap.
#pragma once

#include <cstdint>

namespace fastpose {

inline constexpr std::int64_t kByteTileRows = 6;
inline constexpr std::int64_t kBytePanelColumns = 32;  // matrices lie [panel][tap][depth / 4][32][4]

// Value k of row r is lows[r] + steps[r]·values[r·row_bytes + k].
struct ByteRows {
  const std::uint8_t* values;
  std::int64_t row_bytes;  // a multiple of four
  const float* steps;
  const float* lows;  // null where all are zero
};

// Rows `at` + distance, for each tap, and one panel of the matrices.
struct ByteTile {
  ByteRows rows;
  const std::int64_t* at;  // kByteTileRows of them
  const std::int64_t* distances;
  std::int64_t taps;
  const std::int8_t* weights;  // [taps][row_bytes / 4][32][4]
  const float* weight_sums;    // [taps][32], over the depth
};

// result [kByteTileRows][32] = Σ over taps of rows · matrix.
using MultiplyByteTile = void (*)(const ByteTile& tile, float* result);

// The fastest one that this CPU has and limit_instructions() allows; sums of bytes are exact in each.
MultiplyByteTile byte_product() noexcept;

}  // namespace fastpose
