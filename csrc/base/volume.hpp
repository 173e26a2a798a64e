// Sizes of volumes.
#pragma once

#include <array>
#include <cstdint>

namespace fastpose {

using Volume = std::array<std::int64_t, 3>;  // frames, rows, columns

}  // namespace fastpose
