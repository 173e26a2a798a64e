// Convolution of rows in whole numbers: each float32 row is read as bytes of its own range, weights are
// signed bytes, and batch norm, a sum and ReLU are applied to what is written. For evaluation alone.
#pragma once

#include <cstdint>

#include "row_conv/row_conv.hpp"

namespace fastpose {

// Rows are dense [B, T, H, W, C]. Depths are padded to four channels, C' to panels of 32, with zeros.
struct Int8Conv {
  const float* input;
  const std::int8_t* weights;  // [panel][taps][C / 4][32][4]
  const float* weight_sums;    // [panel][taps][32], over C
  RowFinish finish;            // with the scale of the weights
  float* output;
};

// False: out of memory. Rows that hold NaN or infinity give NaN. Results depend on a row's clip alone, and
// are bitwise identical for any number of threads.
[[nodiscard]] bool int8_conv(const RowConv& conv, const Int8Conv& arrays) noexcept;

}  // namespace fastpose
