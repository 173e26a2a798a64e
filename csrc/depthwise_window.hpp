// The part of a volume that a stretch of a depthwise convolution reads, in float32 and padded with zeros.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "aligned_floats.hpp"
#include "best_target.hpp"
#include "lanes.hpp"

namespace fastpose {

// How one axis of the target is gathered from the source: target index phase + j·phases reads source indices
// j·step + offset, one for each tap of that phase. Source indices out of range count as zero.
struct GatherAxis {
  struct Tap {
    std::int64_t k;  // index into the kernel
    std::int64_t offset;
  };

  std::int64_t source;
  std::int64_t target;
  std::int64_t step;
  std::int64_t phases;
  std::vector<std::vector<Tap>> taps;  // [phase]

  // The output from the input.
  static GatherAxis forward(std::int64_t input, std::int64_t kernel, std::int64_t stride) {
    GatherAxis axis{input, (input - 1) / stride + 1, stride, 1, {{}}};
    for (std::int64_t k = 0; k < kernel; ++k) axis.taps[0].push_back({k, k - kernel / 2});
    return axis;
  }

  // The input's gradient from the output's.
  static GatherAxis backward(std::int64_t input, std::int64_t kernel, std::int64_t stride) {
    GatherAxis axis{(input - 1) / stride + 1, input, 1, stride, {}};
    axis.taps.resize(static_cast<std::size_t>(stride));
    for (std::int64_t phase = 0; phase < stride; ++phase) {
      for (std::int64_t k = 0; k < kernel; ++k) {
        const std::int64_t distance = phase + kernel / 2 - k;
        if (distance % stride == 0) axis.taps_of(phase).push_back({k, distance / stride});
      }
    }
    return axis;
  }

  std::vector<Tap>& taps_of(std::int64_t index) { return taps[static_cast<std::size_t>(index % phases)]; }
  const std::vector<Tap>& taps_of(std::int64_t index) const {
    return taps[static_cast<std::size_t>(index % phases)];
  }
  std::int64_t source_of(std::int64_t index, const Tap& tap) const {
    return index / phases * step + tap.offset;
  }
  bool holds(std::int64_t source_index) const { return source_index >= 0 && source_index < source; }

  // First and one past the last source index in range that targets [begin, end) read.
  std::pair<std::int64_t, std::int64_t> sources(std::int64_t begin, std::int64_t end) const {
    std::int64_t low = source, high = 0;
    for (std::int64_t index = begin; index < end; ++index) {
      for (const Tap& tap : taps_of(index)) {
        const std::int64_t at = source_of(index, tap);
        if (!holds(at)) continue;
        low = std::min(low, at);
        high = std::max(high, at + 1);
      }
    }
    return {std::min(low, high), high};
  }
};

// A ring of planes [frame % slots][block][row][column][lane] of one clip. A row past the last one and the
// columns at both sides stay zero.
class SourceWindow {
 public:
  SourceWindow(const GatherAxis& x, ChannelBlocks blocks, std::int64_t slots, std::int64_t rows)
      : columns_(x.source), blocks_(blocks), slots_(slots), rows_(rows) {
    std::int64_t last = x.source - 1;
    for (std::int64_t phase = 0; phase < std::min(x.phases, x.target); ++phase) {
      const std::int64_t most = (x.target - 1 - phase) / x.phases;
      for (const GatherAxis::Tap& tap : x.taps_of(phase)) {
        left_ = std::max(left_, -tap.offset);
        last = std::max(last, most * x.step + tap.offset);
      }
    }
    width_ = left_ + last + 1;
  }

  bool allocate() {
    values_ = allocate_floats(slots_ * blocks_.count() * block_floats());
    return values_ != nullptr;
  }

  std::int64_t bytes_per_row() const {
    return slots_ * blocks_.count() * width_ * kLanes * static_cast<std::int64_t>(sizeof(float));
  }

  // Starts on the source rows [begin, end) of a clip of dense [frames, rows, columns, channels].
  void start(std::int64_t begin, std::int64_t end) {
    row_begin_ = begin;
    row_end_ = end;
    loaded_ = -1;
  }

  // Makes the source frames [begin, end) present; calls go forward in time, at most `slots` frames a call.
  template <class Element>
  void need(const Element* clip, std::int64_t source_rows, std::int64_t begin, std::int64_t end) {
    for (std::int64_t frame = std::max(begin, loaded_ + 1); frame < end; ++frame) {
      const Element* plane = clip + frame * source_rows * columns_ * blocks_.channels;
      load(plane, values_.get() + frame % slots_ * blocks_.count() * block_floats());
      loaded_ = frame;
    }
  }

  const float* block(std::int64_t index) const { return values_.get() + index * block_floats(); }

  // Offsets from a block's start, at column 0 of the source.
  std::int64_t row_offset(std::int64_t frame, std::int64_t row) const {
    return frame % slots_ * blocks_.count() * block_floats() + ((row - row_begin_) * width_ + left_) * kLanes;
  }
  std::int64_t zero_row_offset() const { return (rows_ * width_ + left_) * kLanes; }

 private:
  std::int64_t block_floats() const { return (rows_ + 1) * width_ * kLanes; }

  template <class Element>
  void load(const Element* plane, float* target) const {
    for (std::int64_t row = row_begin_; row < row_end_; ++row) {
      const Element* pixel = plane + row * columns_ * blocks_.channels;
      float* at = target + ((row - row_begin_) * width_ + left_) * kLanes;
      for (std::int64_t column = 0; column < columns_; ++column) {
        for (std::int64_t block = 0; block < blocks_.count(); ++block) {
          Lanes lanes;
          blocks_.read_block(pixel + blocks_.begin(block), lanes);
          write<BaselineTarget>(lanes, at + block * block_floats());
        }
        pixel += blocks_.channels;
        at += kLanes;
      }
    }
  }

  std::int64_t columns_;
  ChannelBlocks blocks_;
  std::int64_t slots_;
  std::int64_t rows_;
  std::int64_t left_ = 0;
  std::int64_t width_ = 0;
  std::int64_t row_begin_ = 0;
  std::int64_t row_end_ = 0;
  std::int64_t loaded_ = -1;
  AlignedFloats values_;
};

}  // namespace fastpose
