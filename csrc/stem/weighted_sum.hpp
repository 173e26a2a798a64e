// Sums of a few arrays, each times a number: vectorised, in float32 whatever the arrays' format.
#pragma once

#include <cstdint>

#include "base/channel_blocks.hpp"
#include "base/floats.hpp"
#include "base/number_formats.hpp"
#include "base/with_constant.hpp"

namespace fastpose {

inline constexpr int kMostTerms = 8;

// Where rows of `length` elements lie: one behind every `stride` elements.
struct Rows {
  std::int64_t count;
  std::int64_t length;
  std::int64_t source_stride;
  std::int64_t target_stride;
};

template <class Target, bool kAdds, int kTerms, class Element>
void sum_terms(const float* factors, const Element* const* sources, const Rows& rows, float* target) {
  const ChannelBlocks rest{rows.length % kLanes};
  const std::int64_t whole = rows.length - rest.channels;
  for (std::int64_t row = 0; row < rows.count; ++row, target += rows.target_stride) {
    const std::int64_t offset = row * rows.source_stride;
    for (std::int64_t i = 0; i < whole; i += kLanes) {
      Floats sum{};
      if constexpr (kAdds) read(target + i, sum);
#pragma GCC unroll 8
      for (int term = 0; term < kTerms; ++term) {
        Floats value;
        read(sources[term] + offset + i, value);
        sum += factors[term] * value;
      }
      write<Target>(sum, target + i);
    }
    if (rest.channels == 0) continue;
    Floats sum{};
    if constexpr (kAdds) rest.read_block(target + whole, sum);
    for (int term = 0; term < kTerms; ++term) {
      Floats value;
      rest.read_block(sources[term] + offset + whole, value);
      sum += factors[term] * value;
    }
    rest.template write_block<Target>(sum, target + whole);
  }
}

// Collects terms, and adds them to the target a few at a time.
template <class Target, class Element>
class WeightedSum {
 public:
  // `adds`: to what the target holds, which is otherwise overwritten.
  WeightedSum(const Rows& rows, float* target, bool adds) : rows_(rows), target_(target), adds_(adds) {}

  void add(float factor, const Element* source) {
    if (count_ == kMostTerms) flush();
    factors_[count_] = factor;
    sources_[count_++] = source;
  }

  void finish() {
    if (count_ > 0) {
      flush();
    } else if (!adds_) {
      const Element* const none[1] = {};
      sum_terms<Target, false, 0, Element>(factors_, none, rows_, target_);
    }
  }

 private:
  void flush() {
    with_constant<kMostTerms>(count_, [this](auto count) {
      constexpr int kTerms = decltype(count)::value;
      if (adds_) {
        sum_terms<Target, true, kTerms>(factors_, sources_, rows_, target_);
      } else {
        sum_terms<Target, false, kTerms>(factors_, sources_, rows_, target_);
      }
    });
    adds_ = true;
    count_ = 0;
  }

  const Rows rows_;
  float* const target_;
  bool adds_;
  int count_ = 0;
  float factors_[kMostTerms];
  const Element* sources_[kMostTerms];
};

}  // namespace fastpose
