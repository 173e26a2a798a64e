// Standard normal numbers by Box-Muller, from Philox words.
#pragma once

#include <cstdint>

#include "sample/philox.hpp"

namespace fastpose {

inline constexpr std::int64_t kMaxNormals = 512;  // of one call

// The noise of elements first..first + count - 1 of a clip, `first` even, count at most kMaxNormals; dx and
// dy have room for kMaxNormals. (dx, dy) of an even element e come from words 0, 1 of block e / 2 of
// Purpose::kNoise, those of an odd one from words 2, 3:
// dx = r·cos(2π·u2), dy = r·sin(2π·u2), r = sqrt(-2·log(u1)), u1 = ((word >> 8) + 1)·2^-24,
// u2 = (word >> 8)·2^-24. Within 8e-7 of the exact value, by float32 operations that round alike on every
// machine, so the bits depend neither on libm nor on the width of the machine's vectors.
void fill_normals(const ClipRandom& random, std::uint32_t first, std::int64_t count, float* dx, float* dy);

// The two parts of it, for all words i in [0, count).
void box_muller(const std::uint32_t* radius_words, const std::uint32_t* angle_words, std::int64_t count,
                float* dx, float* dy);

}  // namespace fastpose
