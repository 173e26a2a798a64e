// Rows of channels in parts small enough for a first-level cache, and sums over them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "batch_norm.hpp"
#include "best_target.hpp"
#include "lanes.hpp"
#include "thread_pool.hpp"

namespace fastpose {

inline constexpr std::int64_t kPartElements = 4 << 10;  // of each array; stays in a first-level cache
inline constexpr std::int64_t kRangeElements = 128 << 10;

// Rows in parts, whose sums are merged in order: results do not depend on who computed them.
struct Parts {
  std::int64_t rows;
  std::int64_t part_rows;

  explicit Parts(const BatchNorm& norm)
      : rows(norm.rows), part_rows(std::max<std::int64_t>(16, kPartElements / norm.channels)) {}

  std::int64_t count() const { return (rows + part_rows - 1) / part_rows; }
  std::int64_t begin(std::int64_t part) const { return part * part_rows; }
  std::int64_t size(std::int64_t part) const { return std::min(part_rows, rows - begin(part)); }
};

template <class Body>
void for_parts(const BatchNorm& norm, const Parts& parts, const Body& body) {
  const std::int64_t grain = std::max<std::int64_t>(1, kRangeElements / (parts.part_rows * norm.channels));
  parallel_for_beside_openmp(parts.count(), norm.threads, grain, [&](std::int64_t begin, std::int64_t end) {
    Body range = body;
    range.begin = begin;
    range.end = end;
    run_on_best_target(range);
  });
}

// While a part is worked on block by block, which touches memory in leaps, brings its successor in line by
// line.
template <class Element>
class Lookahead {
 public:
  Lookahead(const BatchNorm& norm, const Parts& parts, std::int64_t part, std::int64_t end)
      : begin_(parts.begin(part + 1) * norm.channels),
        share_(part + 1 < end ? parts.size(part + 1) * norm.channels / ChannelBlocks{norm.channels}.count()
                              : 0) {}

  // The block's share of an array to read or, with kWrites, to write.
  template <bool kWrites = false>
  void fetch(const void* array, std::int64_t block) const {
    const Element* values = static_cast<const Element*>(array) + begin_ + block * share_;
    for (std::int64_t i = 0; i < share_; i += kLine) __builtin_prefetch(values + i, kWrites);
  }

 private:
  static constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Element));
  std::int64_t begin_;
  std::int64_t share_;
};

// Sums of two functions of a row over the rows of a part, for one block of channels.
template <class ReadPair>
void add_up(std::int64_t rows, const ReadPair& read_pair, Lanes& first, Lanes& second) {
  constexpr int kChains = 4;
  Lanes firsts[kChains] = {}, seconds[kChains] = {};
  std::int64_t row = 0;
  for (; row + kChains <= rows; row += kChains) {
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i) {
      Lanes a, b;
      read_pair(row + i, a, b);
      firsts[i] += a;
      seconds[i] += a * b;
    }
  }
  for (; row < rows; ++row) {
    Lanes a, b;
    read_pair(row, a, b);
    firsts[0] += a;
    seconds[0] += a * b;
  }
  first = (firsts[0] + firsts[1]) + (firsts[2] + firsts[3]);
  second = (seconds[0] + seconds[1]) + (seconds[2] + seconds[3]);
}

}  // namespace fastpose
