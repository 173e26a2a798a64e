// Rows of channels in parts small enough for a first-level cache, and sums over them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/channel_blocks.hpp"
#include "base/floats.hpp"
#include "base/guarded.hpp"
#include "base/instructions.hpp"
#include "base/number_formats.hpp"
#include "base/thread_pool.hpp"
#include "norm_depthwise/batch_norm.hpp"

namespace fastpose {

inline constexpr std::int64_t kPartElements = 1 << 10;  // of each of several arrays in a first-level cache
inline constexpr std::int64_t kRangeElements = 128 << 10;
inline constexpr std::int64_t kStepRows = 4;

// Rows in parts, and these in ranges, whose sums are merged in order: bitwise identical whoever computed
// them.
struct Parts {
  std::int64_t rows;
  std::int64_t part_rows;
  std::int64_t range_parts;

  // A power of two of rows, most of which fill whole cache lines.
  explicit Parts(const BatchNorm& norm)
      : rows(norm.rows),
        part_rows(static_cast<std::int64_t>(std::bit_floor(
            static_cast<std::uint64_t>(std::max(2 * kStepRows, kPartElements / norm.channels))))),
        range_parts(std::max<std::int64_t>(1, kRangeElements / (part_rows * norm.channels))) {}

  std::int64_t count() const { return (rows + part_rows - 1) / part_rows; }
  std::int64_t begin(std::int64_t part) const { return part * part_rows; }
  std::int64_t size(std::int64_t part) const { return std::min(part_rows, rows - begin(part)); }

  std::int64_t ranges() const { return (count() + range_parts - 1) / range_parts; }
  std::int64_t range_of(std::int64_t part) const { return part / range_parts; }
  std::int64_t range_rows(std::int64_t range) const {
    return std::min(part_rows * range_parts, rows - begin(range * range_parts));
  }
};

// Runs the body for each range, from its first part `begin` to `end`.
template <class Body>
void for_ranges(const BatchNorm& norm, const Parts& parts, const Body& body) {
  guarded_loop(parallel_for_beside_openmp, parts.count(), norm.threads, parts.range_parts,
               [&](std::int64_t begin, std::int64_t end) {
                 Body range = body;
                 range.begin = begin;
                 range.end = end;
                 run_on_best_target(range);
               });
}

// While a part is worked on block by block, which touches memory in leaps, brings its successor in: with
// every step of kStepRows rows of a block, as many bytes of each array.
template <class Element, int kArrays>
class Lookahead {
 public:
  Lookahead(const BatchNorm& norm, const Parts& parts, std::int64_t part, std::int64_t end,
            const void* const* arrays)
      : at_(parts.begin(part + 1 < end ? part + 1 : part) * norm.channels) {
    std::copy_n(arrays, kArrays, arrays_);
  }

  void step() {
#pragma GCC unroll 3
    for (int array = 0; array < kArrays; ++array) {
      const Element* values = static_cast<const Element*>(arrays_[array]) + at_;
#pragma GCC unroll 2
      for (std::int64_t i = 0; i < kStep; i += kLine) __builtin_prefetch(values + i);
    }
    at_ += kStep;
  }

 private:
  static constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Element));
  static constexpr std::int64_t kStep = kStepRows * kLanes;
  const void* arrays_[kArrays];
  std::int64_t at_;
};

// Calls write_row for the rows of a part.
template <class WriteRow, class Next>
void each_row(std::int64_t rows, const WriteRow& write_row, Next& next) {
  std::int64_t row = 0;
  for (; row + kStepRows <= rows; row += kStepRows) {
    next.step();
#pragma GCC unroll 4
    for (int i = 0; i < kStepRows; ++i) write_row(row + i);
  }
  for (; row < rows; ++row) write_row(row);
}

// Sums of a and a·b, which read_pair finds for a row, over the rows of a part, for one block of channels.
template <class ReadPair, class Next>
void add_up(std::int64_t rows, const ReadPair& read_pair, Next& next, Floats& first, Floats& second) {
  Floats firsts[kStepRows] = {}, seconds[kStepRows] = {};
  std::int64_t row = 0;
  for (; row + kStepRows <= rows; row += kStepRows) {
    next.step();
#pragma GCC unroll 4
    for (int i = 0; i < kStepRows; ++i) {
      Floats a, b;
      read_pair(row + i, a, b);
      firsts[i] += a;
      seconds[i] += a * b;
    }
  }
  for (; row < rows; ++row) {
    Floats a, b;
    read_pair(row, a, b);
    firsts[0] += a;
    seconds[0] += a * b;
  }
  first = (firsts[0] + firsts[1]) + (firsts[2] + firsts[3]);
  second = (seconds[0] + seconds[1]) + (seconds[2] + seconds[3]);
}

// Adds a block's values to its totals.
inline void add_to(float* totals, const Floats& values) {
  Floats before;
  read(totals, before);
  before += values;
  store(before, totals);
}

}  // namespace fastpose
