// Products of rows that lie anywhere with a matrix that lies in panels, for convolutions tap by tap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/floats.hpp"
#include "base/instructions.hpp"
#include "base/line_vector.hpp"
#include "base/with_constant.hpp"

namespace fastpose {

inline constexpr int kTileRows = 6;  // of a tile, whose sums stay in registers

// The vectors of a tile's row: as many as registers hold for all its rows.
template <class Target>
struct TileShape {
  using Vector = Floats;
  static constexpr int kVectors = Target::kVectorRegisters > 16 || Target::kWidens ? 2 : 1;
};
using WideFloats [[gnu::vector_size(64)]] = float;
template <>
struct TileShape<Avx512Target> {
  using Vector = WideFloats;
  static constexpr int kVectors = 4;
};

template <class Target>
inline constexpr std::int64_t kVectorLanes =
    static_cast<std::int64_t>(sizeof(typename TileShape<Target>::Vector) / sizeof(float));
template <class Target>
inline constexpr std::int64_t kPanelColumns = kVectorLanes<Target> * TileShape<Target>::kVectors;

template <class Target>
std::int64_t padded_columns(std::int64_t columns) {
  return (columns + kVectorLanes<Target> - 1) / kVectorLanes<Target> * kVectorLanes<Target>;
}

template <class Vector>
void load_vector(const float* values, Vector& vector) {
  std::memcpy(&vector, values, sizeof(vector));
}
template <class Vector>
void store_vector(const Vector& vector, float* values) {
  std::memcpy(values, &vector, sizeof(vector));
}

// The same address, of whose origin the compiler knows nothing: else it keeps a base and several indices in
// place of pointers, and has too few registers for them.
template <class Value>
inline __attribute__((always_inline)) Value* opaque(Value* address) {
  asm("" : "+r"(address));
  return address;
}

// Matrices [taps][depth, columns], each in panels of kPanelColumns<Target> columns or the padded rest, filled
// up with zeros: within a panel, columns are neighbours.
template <class Target>
class PanelMatrices {
 public:
  // value(tap, k, column)
  template <class Value>
  PanelMatrices(std::int64_t taps, std::int64_t depth, std::int64_t columns, const Value& value)
      : depth_(depth), columns_(columns), values_(static_cast<std::size_t>(taps * tap_size())) {
    float* to = values_.data();
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t first = 0; first < columns; first += kPanelColumns<Target>) {
        const std::int64_t width = panel_width(first);
        const std::int64_t filled = std::min(width, columns - first);
        for (std::int64_t k = 0; k < depth; ++k, to += width) {
          for (std::int64_t c = 0; c < filled; ++c) to[c] = value(tap, k, first + c);
        }
      }
    }
  }

  std::int64_t depth() const { return depth_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t panel_width(std::int64_t first) const {
    return std::min(kPanelColumns<Target>, padded_columns<Target>(columns_) - first);
  }
  const float* panel(std::int64_t tap, std::int64_t first) const {
    return values_.data() + tap * tap_size() + first * depth_;
  }
  std::int64_t tap_size() const { return depth_ * padded_columns<Target>(columns_); }

 private:
  std::int64_t depth_, columns_;
  LineVector<float> values_;
};

// Which taps a product sums over: for each the distance of its rows from those of the others, and its matrix.
struct Taps {
  std::vector<std::int64_t> distances, matrices;

  std::int64_t count() const { return static_cast<std::int64_t>(distances.size()); }
};

// result rows = Σ over taps of (rows at `at` + distance) · matrix, for one panel of columns.
template <class Target, int kVectors>
void multiply_tile(const float* values, const std::int64_t* at, std::int64_t rows, const Taps& taps,
                   const PanelMatrices<Target>& matrices, std::int64_t first_column, float* result,
                   const std::int64_t* result_at) {
  using Vector = typename TileShape<Target>::Vector;
  constexpr std::int64_t kLaneCount = kVectorLanes<Target>;
  Vector sums[kTileRows][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[i][v] = Vector{};
  }
  const float* starts[kTileRows];
  for (int i = 0; i < kTileRows; ++i) starts[i] = values + at[std::min<std::int64_t>(i, rows - 1)];
  const std::int64_t depth = matrices.depth();
  for (std::int64_t tap = 0; tap < taps.count(); ++tap) {
    const float* row[kTileRows];
    for (int i = 0; i < kTileRows; ++i)
      row[i] = opaque(starts[i] + taps.distances[static_cast<std::size_t>(tap)]);
    const float* weights = matrices.panel(taps.matrices[static_cast<std::size_t>(tap)], first_column);
    for (std::int64_t k = 0; k < depth; ++k, weights += kVectors * kLaneCount) {
      Vector columns[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) load_vector(weights + v * kLaneCount, columns[v]);
#pragma GCC unroll 6
      for (int i = 0; i < kTileRows; ++i) {
        const float factor = row[i][k];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[i][v] += factor * columns[v];
      }
    }
  }
  const std::int64_t left = matrices.columns() - first_column;
#pragma GCC unroll 6
  for (int i = 0; i < kTileRows; ++i) {
    if (i >= rows) break;
    float* to = result + result_at[i] + first_column;
    if (left >= kVectors * kLaneCount) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) store_vector(sums[i][v], to + v * kLaneCount);
    } else {
      std::memcpy(to, sums[i], static_cast<std::size_t>(left) * sizeof(float));
    }
  }
}

// The same for all columns and any number of rows: panel by panel, which stays in a cache meanwhile.
template <class Target>
void multiply_rows(const float* values, const std::vector<std::int64_t>& at, const Taps& taps,
                   const PanelMatrices<Target>& matrices, float* result,
                   const std::vector<std::int64_t>& result_at) {
  const auto rows = static_cast<std::int64_t>(at.size());
  for (std::int64_t first = 0; first < matrices.columns(); first += kPanelColumns<Target>) {
    const auto vectors = static_cast<int>(matrices.panel_width(first) / kVectorLanes<Target>);
    with_constant<TileShape<Target>::kVectors>(vectors, [&](auto count) {
      for (std::int64_t row = 0; row < rows; row += kTileRows) {
        multiply_tile<Target, count()>(values, at.data() + row, std::min<std::int64_t>(kTileRows, rows - row),
                                       taps, matrices, first, result, result_at.data() + row);
      }
    });
  }
}

// Sums of outer products of rows, some rows at a time: both factors are first copied to where neighbours in
// the loop are neighbours in memory, since rows far apart would fall on the same lines of a first-level
// cache.
template <class Target>
class OuterProducts {
 public:
  static constexpr std::int64_t kMostRows = 4096 / kPanelColumns<Target>;

  // The left factors: `rows` ≤ kMostRows of them, of `depth` values each.
  void take_left(const float* left, const std::int64_t* at, std::int64_t rows, std::int64_t depth) {
    rows_ = rows;
    depth_ = depth;
    left_.resize(static_cast<std::size_t>(rows * (depth + kTileRows) + kLanes));
    float* to = left_.data();
    for (std::int64_t k = 0; k < depth; k += kTileRows) {
      const std::int64_t width = std::min<std::int64_t>(kTileRows, depth - k);
      const bool whole = k + kLanes <= depth;  // what follows the tile is overwritten by the next row
      for (std::int64_t row = 0; row < rows; ++row, to += width) {
        const float* from = left + at[row] + k;
        if (whole) {
          Floats values;
          load(from, values);
          store(values, to);
        } else {
          for (std::int64_t i = 0; i < width; ++i) to[i] = from[i];
        }
      }
    }
  }

  // result [depth, columns] += Σ over rows of left[row, depth] · right[row, column]. `right` is readable to
  // the end of the last vector of each row, and so is `result`, where what lies past the columns is garbage.
  void add(const float* right, const std::int64_t* at, std::int64_t columns, float* result,
           std::int64_t stride) {
    right_.resize(static_cast<std::size_t>(kMostRows * kPanelColumns<Target>));
    for (std::int64_t first = 0; first < columns; first += kPanelColumns<Target>) {
      const std::int64_t width = std::min(kPanelColumns<Target>, padded_columns<Target>(columns) - first);
      with_constant<TileShape<Target>::kVectors>(
          static_cast<int>(width / kVectorLanes<Target>), [&](auto vectors) {
            this->template take_panel<vectors()>(right + first, at);
            for (std::int64_t k = 0; k < depth_; k += kTileRows) {
              const auto height = static_cast<int>(std::min<std::int64_t>(kTileRows, depth_ - k));
              with_constant<kTileRows>(height, [&](auto rows) {
                this->template add_tile<rows(), vectors()>(left_.data() + k * rows_,
                                                           result + k * stride + first, stride);
              });
            }
          });
    }
  }

 private:
  using Vector = typename TileShape<Target>::Vector;
  static constexpr std::int64_t kLaneCount = kVectorLanes<Target>;

  template <int kVectors>
  void take_panel(const float* right, const std::int64_t* at) {
    float* to = right_.data();
    for (std::int64_t row = 0; row < rows_; ++row) {
      const float* from = opaque(right + at[row]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v, to += kLaneCount) {
        Vector values;
        load_vector(from + v * kLaneCount, values);
        store_vector(values, to);
      }
    }
  }

  template <int kRows, int kVectors>
  void add_tile(const float* left, float* result, std::int64_t stride) const {
    Vector sums[kRows][kVectors];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] = Vector{};
    }
    const float* from = right_.data();
    for (std::int64_t row = 0; row < rows_; ++row, left += kRows, from += kVectors * kLaneCount) {
      Vector columns[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) load_vector(from + v * kLaneCount, columns[v]);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[i][v] += left[i] * columns[v];
      }
    }
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* to = result + i * stride + v * kLaneCount;
        Vector before;
        load_vector(to, before);
        store_vector(before + sums[i][v], to);
      }
    }
  }

  std::int64_t rows_ = 0, depth_ = 0;
  LineVector<float> left_, right_;
};

}  // namespace fastpose
