#include "int8_conv/byte_product.hpp"

#include <algorithm>
#include <cstring>

#include "base/instructions.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastpose {
namespace {

constexpr std::int64_t kRows = kByteTileRows, kColumns = kBytePanelColumns;

// Where the rows of a tap begin, and how its sums of bytes become floats.
struct TapRows {
  const std::uint8_t* values[kRows];
  float steps[kRows], lows[kRows];

  TapRows(const ByteTile& tile, std::int64_t tap) {
    for (std::int64_t i = 0; i < kRows; ++i) {
      const std::int64_t row = tile.at[i] + tile.distances[tap];
      values[i] = tile.rows.values + row * tile.rows.row_bytes;
      steps[i] = tile.rows.steps[row];
      lows[i] = tile.rows.lows == nullptr ? 0.0f : tile.rows.lows[row];
    }
  }
};

void multiply_portable(const ByteTile& tile, float* result) {
  std::fill_n(result, kRows * kColumns, 0.0f);
  const std::int64_t depth = tile.rows.row_bytes;
  for (std::int64_t tap = 0; tap < tile.taps; ++tap) {
    const TapRows rows(tile, tap);
    const std::int8_t* const matrix = tile.weights + tap * depth * kColumns;
    const float* const weight_sums = tile.weight_sums + tap * kColumns;
    for (std::int64_t i = 0; i < kRows; ++i) {
      std::int32_t sums[kColumns] = {};
      for (std::int64_t k = 0; k < depth; k += 4) {
        for (std::int64_t c = 0; c < kColumns; ++c) {
          for (std::int64_t j = 0; j < 4; ++j)
            sums[c] += rows.values[i][k + j] * matrix[k * kColumns + c * 4 + j];
        }
      }
      float* const to = result + i * kColumns;
      for (std::int64_t c = 0; c < kColumns; ++c) {
        to[c] += rows.steps[i] * static_cast<float>(sums[c]) + rows.lows[i] * weight_sums[c];
      }
    }
  }
}

#if defined(__x86_64__)

std::int32_t four_bytes(const std::uint8_t* from) {
  std::int32_t bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return bytes;
}

// Two rows and sixteen columns at a time, in pairs of 16 bits: as many products in an instruction as of
// float32.
__attribute__((target("avx2,fma"))) void multiply_avx2(const ByteTile& tile, float* result) {
  std::fill_n(result, kRows * kColumns, 0.0f);
  const std::int64_t depth = tile.rows.row_bytes;
  for (std::int64_t tap = 0; tap < tile.taps; ++tap) {
    const TapRows rows(tile, tap);
    for (std::int64_t column = 0; column < kColumns; column += 16) {
      const std::int8_t* const matrix = tile.weights + tap * depth * kColumns + column * 4;
      const float* const weight_sums = tile.weight_sums + tap * kColumns + column;
      for (std::int64_t row = 0; row < kRows; row += 2) {
        __m256i sums[2][4];
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sums[0][v] = sums[1][v] = _mm256_setzero_si256();
        for (std::int64_t k = 0; k < depth; k += 4) {
          __m256i values[2];
#pragma GCC unroll 2
          for (int i = 0; i < 2; ++i) {
            const __m128i bytes = _mm_cvtsi32_si128(four_bytes(rows.values[row + i] + k));
            values[i] = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(bytes));
          }
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) {
            const auto* const from = reinterpret_cast<const __m128i*>(matrix + k * kColumns + v * 16);
            const __m256i weights = _mm256_cvtepi8_epi16(_mm_loadu_si128(from));
            sums[0][v] = _mm256_add_epi32(sums[0][v], _mm256_madd_epi16(values[0], weights));
            sums[1][v] = _mm256_add_epi32(sums[1][v], _mm256_madd_epi16(values[1], weights));
          }
        }
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
          float* const to = result + (row + i) * kColumns + column;
#pragma GCC unroll 2
          for (int v = 0; v < 2; ++v) {
            // two partial sums of a column are neighbours
            const __m256i pairs = _mm256_hadd_epi32(sums[i][2 * v], sums[i][2 * v + 1]);
            const __m256 whole = _mm256_cvtepi32_ps(_mm256_permute4x64_epi64(pairs, 0b11'01'10'00));
            __m256 sum = _mm256_loadu_ps(to + v * 8);
            sum = _mm256_fmadd_ps(whole, _mm256_set1_ps(rows.steps[row + i]), sum);
            sum = _mm256_fmadd_ps(_mm256_loadu_ps(weight_sums + v * 8), _mm256_set1_ps(rows.lows[row + i]),
                                  sum);
            _mm256_storeu_ps(to + v * 8, sum);
          }
        }
      }
    }
  }
}

// Four products in an instruction's lane. Sums stay in registers from tap to tap.
__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))) void multiply_vnni(
    const ByteTile& tile, float* result) {
  constexpr int kVectors = kColumns / 16;
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_setzero_ps();
  }
  const std::int8_t* matrix = tile.weights;
  for (std::int64_t tap = 0; tap < tile.taps; ++tap) {
    const TapRows rows(tile, tap);
    __m512i products[kRows][kVectors];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) products[i][v] = _mm512_setzero_si512();
    }
    for (std::int64_t k = 0; k < tile.rows.row_bytes; k += 4, matrix += 4 * kColumns) {
      __m512i weights[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) weights[v] = _mm512_loadu_si512(matrix + v * 64);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        const __m512i values = _mm512_set1_epi32(four_bytes(rows.values[i] + k));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          products[i][v] = _mm512_dpbusd_epi32(products[i][v], values, weights[v]);
        }
      }
    }
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m512 step = _mm512_set1_ps(rows.steps[i]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        // _mm512_cvtepi32_ps warns in GCC 12
        const auto whole = reinterpret_cast<__m512>(
            __builtin_convertvector(reinterpret_cast<__v16si>(products[i][v]), __v16sf));
        sums[i][v] = _mm512_fmadd_ps(whole, step, sums[i][v]);
      }
    }
    if (tile.rows.lows != nullptr) {
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        const __m512 low = _mm512_set1_ps(rows.lows[i]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          const __m512 whole = _mm512_loadu_ps(tile.weight_sums + tap * kColumns + v * 16);
          sums[i][v] = _mm512_fmadd_ps(whole, low, sums[i][v]);
        }
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(result + i * kColumns + v * 16, sums[i][v]);
  }
}

#endif

}  // namespace

MultiplyByteTile byte_product() noexcept {
#if defined(__x86_64__)
  const Instructions best = best_instructions();
  if (best >= Instructions::kAvx512 && __builtin_cpu_supports("avx512vnni")) return multiply_vnni;
  if (best >= Instructions::kAvx2) return multiply_avx2;
#endif
  return multiply_portable;
}

}  // namespace fastpose
