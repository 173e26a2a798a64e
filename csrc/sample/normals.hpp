// Standard normal numbers by Box-Muller, from Philox words.
#pragma once

#include <cstdint>
#include <vector>

#include "sample/philox.hpp"

namespace fastpose {

// Normals of a frame: two for each of its elements (person · joints + joint), padded to whole blocks.
inline constexpr std::int64_t normals_of_frame(std::int64_t elements) {
  return (elements + 1) / 2 * 2;
}

// Writes the noise of `elements` elements in each of `count` frames of a clip's video to dx and dy
// [count, normals_of_frame(elements)], which become somewhat longer. It is a function of the frame's place in
// the video and of the element, so frames that are repeated, or sampled again, have the same noise. (dx, dy)
// of an even element e come from words 0, 1 of block e / 2 of the frame's Purpose::kNoise, those of an odd
// one from words 2, 3: dx = r·cos(2π·u2), dy = r·sin(2π·u2), r = sqrt(-2·log(u1)), u1 = ((word >> 8) +
// 1)·2^-24, u2 = (word >> 8)·2^-24. Within 8e-7 of the exact value, by float32 operations that round alike on
// every machine, so the bits depend neither on libm nor on the width of the machine's vectors.
void fill_normals(const ClipRandom& random, const std::int32_t* frames, std::int64_t count,
                  std::int64_t elements, std::vector<float>& dx, std::vector<float>& dy);

// The last step of it, for all words i in [0, count).
void box_muller(const std::uint32_t* radius_words, const std::uint32_t* angle_words, std::int64_t count,
                float* dx, float* dy);

}  // namespace fastpose
