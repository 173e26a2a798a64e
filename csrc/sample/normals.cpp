#include "sample/normals.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

namespace fastpose {
namespace {

constexpr float kLog2High = 0.693359375f;  // 10 bits: its products with small whole numbers are exact
constexpr float kLog2Low = -0.00021219444170128554f;

// log(x) for normal x > 0: x = m·2^e with m in [sqrt(1/2), sqrt(2)), f = m - 1,
// log(1 + f) = f - f²/2 + f³·P(f), P a minimax polynomial.
inline float log_positive(float x) {
  constexpr std::uint32_t kSqrtHalf = 0x3F3504F3;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::int32_t exponent = static_cast<std::int32_t>(bits - kSqrtHalf) >> 23;
  const float f = std::bit_cast<float>(bits - (static_cast<std::uint32_t>(exponent) << 23)) - 1.0f;
  float p = -0.07859617471694946f;
  p = p * f + 0.12881648540496826f;
  p = p * f - 0.13128753006458282f;
  p = p * f + 0.14181192219257355f;
  p = p * f - 0.16624553501605988f;
  p = p * f + 0.2000228613615036f;
  p = p * f - 0.25000810623168945f;
  p = p * f + 0.33333316445350647f;
  const float e = static_cast<float>(exponent);
  return e * kLog2High + (f + (f * f * (f * p - 0.5f) + e * kLog2Low));
}

struct Turn {
  float cos, sin;
};

// cos and sin of 2π·turn·2^-24. The nearest quarter turn is taken off exactly; what is left, r in [-1/8, 1/8]
// turns, goes through minimax polynomials.
inline Turn cos_sin(std::uint32_t turn) {
  const std::uint32_t quarter = (turn + (1u << 21)) >> 22;
  const float r = static_cast<float>(static_cast<std::int32_t>(turn - (quarter << 22))) * 0x1p-24f;
  const float z = r * r;
  const float sin =
      r * (((-75.40206909179688f * z + 81.5925521850586f) * z - 41.3416633605957f) * z + 6.2831854820251465f);
  const float cos = 1.0f + z * (((59.42434310913086f * z - 85.44882202148438f) * z + 64.93936920166016f) * z -
                                19.739208221435547f);
  const std::uint32_t cos_bits = std::bit_cast<std::uint32_t>(cos);
  const std::uint32_t sin_bits = std::bit_cast<std::uint32_t>(sin);
  const std::uint32_t swap = (cos_bits ^ sin_bits) & (0u - (quarter & 1));
  const std::uint32_t cos_sign = ((quarter + 1) & 2) << 30;
  const std::uint32_t sin_sign = (quarter & 2) << 30;
  return {std::bit_cast<float>(cos_bits ^ swap ^ cos_sign), std::bit_cast<float>(sin_bits ^ swap ^ sin_sign)};
}

// ((word >> 8) + 1)·2^-24, of (0, 1].
inline float above_zero(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word >> 8) + 1) * 0x1p-24f;
}

inline float laplace(std::uint32_t word) {
  const float u = static_cast<float>(static_cast<std::int32_t>(word >> 8 & 0x7FFFFF) + 1) * 0x1p-23f;
  const std::uint32_t size = std::bit_cast<std::uint32_t>(-0.70710678f * log_positive(u));
  return std::bit_cast<float>(size ^ (word & 0x80000000u));
}

inline float centred_uniform(std::uint32_t word) {
  constexpr float kSqrt3 = 1.7320508f;
  return static_cast<float>(2 * static_cast<std::int32_t>(word >> 8) + 1 - (1 << 24)) * (kSqrt3 * 0x1p-24f);
}

// exp(x) - 1 for x in [0, 80): x = k·log(2) + f with |f| up to log(2) / 2, and the series of exp(f) - 1.
inline float expm1_positive(float x) {
  const std::int32_t k = static_cast<std::int32_t>(x * 1.44269504f + 0.5f);
  const float whole = static_cast<float>(k);
  const float f = (x - whole * kLog2High) - whole * kLog2Low;
  float p = 1.0f / 5040;
  p = p * f + 1.0f / 720;
  p = p * f + 1.0f / 120;
  p = p * f + 1.0f / 24;
  p = p * f + 1.0f / 6;
  p = p * f + 0.5f;
  const float power = std::bit_cast<float>(static_cast<std::uint32_t>(k + 127) << 23);  // 2^k
  return power * (f + f * f * p) + (power - 1.0f);
}

}  // namespace

void box_muller(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                float* dy) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float radius = std::sqrt(-2.0f * log_positive(above_zero(first[i])));
    const Turn turn = cos_sin(second[i] >> 8);
    dx[i] = radius * turn.cos;
    dy[i] = radius * turn.sin;
  }
}

void laplace_pairs(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                   float* dy) {
  for (std::int64_t i = 0; i < count; ++i) {
    dx[i] = laplace(first[i]);
    dy[i] = laplace(second[i]);
  }
}

void uniform_pairs(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                   float* dy) {
  for (std::int64_t i = 0; i < count; ++i) {
    dx[i] = centred_uniform(first[i]);
    dy[i] = centred_uniform(second[i]);
  }
}

void student_pairs(const std::uint32_t* first, const std::uint32_t* second, std::int64_t count, float* dx,
                   float* dy) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float radius = std::sqrt(expm1_positive(-0.66666667f * log_positive(above_zero(first[i]))));
    const Turn turn = cos_sin(second[i] >> 8);
    dx[i] = radius * turn.cos;
    dy[i] = radius * turn.sin;
  }
}

void fill_noise(const ClipRandom& random, PairTransform transform, const std::int32_t* frames,
                std::int64_t count, std::int64_t elements, std::vector<float>& dx, std::vector<float>& dy) {
  constexpr std::size_t kBlocksPerVector = 16;  // a remainder loop would cost more than the numbers it saves
  constexpr std::size_t kBlocksAtOnce = 16 * kBlocksPerVector;
  const auto frame_blocks = static_cast<std::size_t>(normals_of_frame(elements) / 2);
  const std::size_t total = static_cast<std::size_t>(count) * frame_blocks;
  const std::size_t padded = (total + kBlocksPerVector - 1) / kBlocksPerVector * kBlocksPerVector;
  dx.resize(2 * padded);
  dy.resize(2 * padded);
  const PhiloxKey key = random.key();
  const std::uint32_t epoch = random.counter(Purpose::kNoise)[2];
  std::array<std::uint32_t, kBlocksAtOnce> low{}, high{}, last{};  // words 0, 1 and 3 of the counters
  std::array<std::uint32_t, 2 * kBlocksAtOnce> first_words, second_words;
  PhiloxBlock counter{};
  std::size_t left = 0;  // blocks of the frame
  for (std::size_t begin = 0; begin < padded; begin += kBlocksAtOnce) {
    const std::size_t size = std::min(kBlocksAtOnce, padded - begin);
    for (std::size_t i = 0; i < size && begin + i < total; ++i, --left, ++counter[3]) {
      if (left == 0) {
        counter = random.counter(Purpose::kNoise, *frames++);
        left = frame_blocks;
      }
      low[i] = counter[0];
      high[i] = counter[1];
      last[i] = counter[3];
    }
    for (std::size_t i = 0; i < size; ++i) {
      const PhiloxBlock words = philox4x32_10({low[i], high[i], epoch, last[i]}, key);
      first_words[2 * i] = words[0];
      second_words[2 * i] = words[1];
      first_words[2 * i + 1] = words[2];
      second_words[2 * i + 1] = words[3];
    }
    transform(first_words.data(), second_words.data(), static_cast<std::int64_t>(2 * size), &dx[2 * begin],
              &dy[2 * begin]);
  }
}

}  // namespace fastpose
