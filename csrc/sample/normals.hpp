// Random numbers of unit variance from Philox words: normal by Box-Muller, and of other distributions.
#pragma once

#include <cstdint>
#include <vector>

#include "sample/philox.hpp"

namespace fastpose {

// Numbers of a frame: two for each of its elements (person · joints + joint), padded to whole blocks.
inline constexpr std::int64_t normals_of_frame(std::int64_t elements) {
  return (elements + 1) / 2 * 2;
}

// Two numbers dx[i], dy[i] of two words first[i], second[i], for all i in [0, count), by float32 operations
// that round alike on every machine: the bits depend neither on libm nor on the width of the machine's
// vectors.
using PairTransform = void (*)(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count,
                               float* dx, float* dy);

// dx = r·cos(2π·u2), dy = r·sin(2π·u2), r = sqrt(-2·log(u1)), u1 = ((first >> 8) + 1)·2^-24, u2 =
// (second >> 8)·2^-24. Within 8e-7 of the exact value.
void box_muller(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                float* dy);

// Each word by itself: ∓log(u) / √2 by the first bit, u = ((the next 23) + 1)·2^-23.
void laplace_pairs(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                   float* dy);

// Each word by itself: the middle of one of 2^24 equal parts of (-√3, √3).
void uniform_pairs(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                   float* dy);

// As box_muller, with r = sqrt(u1^(-2/3) - 1): Student's t of three degrees of freedom over √3, by the polar
// method (Bailey, Mathematics of Computation 62, 1994).
void student_pairs(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                   float* dy);

// Writes the numbers of `elements` elements in each of `count` frames of a clip's video to dx and dy
// [count, normals_of_frame(elements)], which become somewhat longer. They are a function of the frame's place
// in the video and of the element, so frames that are repeated, or sampled again, have the same noise. (dx,
// dy) of an even element e come from words 0, 1 of block e / 2 of the frame's Purpose::kNoise, those of an
// odd one from words 2, 3.
void fill_noise(const ClipRandom& random, PairTransform transform, const std::int32_t* frames,
                std::int64_t count, std::int64_t elements, std::vector<float>& dx, std::vector<float>& dy);

}  // namespace fastpose
