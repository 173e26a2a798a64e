#include "sample/normals.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

namespace fastpose {
namespace {

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
  constexpr float kLog2High = 0.693359375f;  // 10 bits: e·kLog2High is exact
  constexpr float kLog2Low = -0.00021219444170128554f;
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

}  // namespace

void box_muller(const std::uint32_t* radius_words, const std::uint32_t* angle_words, std::int64_t count,
                float* dx, float* dy) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float u1 = static_cast<float>(static_cast<std::int32_t>(radius_words[i] >> 8) + 1) * 0x1p-24f;
    const float radius = std::sqrt(-2.0f * log_positive(u1));
    const Turn turn = cos_sin(angle_words[i] >> 8);
    dx[i] = radius * turn.cos;
    dy[i] = radius * turn.sin;
  }
}

void fill_normals(const ClipRandom& random, const std::int32_t* frames, std::int64_t count,
                  std::int64_t elements, std::vector<float>& dx, std::vector<float>& dy) {
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
  std::array<std::uint32_t, 2 * kBlocksAtOnce> radius_words, angle_words;
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
      radius_words[2 * i] = words[0];
      angle_words[2 * i] = words[1];
      radius_words[2 * i + 1] = words[2];
      angle_words[2 * i + 1] = words[3];
    }
    box_muller(radius_words.data(), angle_words.data(), static_cast<std::int64_t>(2 * size), &dx[2 * begin],
               &dy[2 * begin]);
  }
}

}  // namespace fastpose
