// The part of a volume that a stretch of a depthwise convolution reads, in float32 and padded with zeros.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "base/channel_blocks.hpp"
#include "base/floats.hpp"
#include "base/line_vector.hpp"
#include "norm_depthwise/depthwise_conv.hpp"

namespace fastpose {

// How one axis of the target is gathered from the source: target index phase + j·phases reads source indices
// j·step + offset, one for each tap of that phase. Source indices out of range count as zero. No phase is
// without a target.
struct GatherAxis {
  struct Tap {
    std::int64_t k;  // index into the kernel
    std::int64_t offset;
  };

  std::int64_t source;
  std::int64_t target;
  std::int64_t step;
  std::int64_t phases;
  std::vector<std::vector<Tap>> taps;  // [phase], neighbours in the source

  // The output from the input.
  static GatherAxis forward(std::int64_t input, std::int64_t kernel, std::int64_t stride) {
    GatherAxis axis{input, (input - 1) / stride + 1, std::min(stride, input), 1, {{}}};
    for (std::int64_t k = 0; k < kernel; ++k) axis.taps[0].push_back({k, k - kernel / 2});
    return axis;
  }

  // The input's gradient from the output's.
  static GatherAxis backward(std::int64_t input, std::int64_t kernel, std::int64_t stride) {
    GatherAxis axis{(input - 1) / stride + 1, input, 1, std::min(stride, input), {}};
    axis.taps.resize(static_cast<std::size_t>(axis.phases));
    for (std::int64_t phase = 0; phase < axis.phases; ++phase) {
      for (std::int64_t k = kernel - 1; k >= 0; --k) {
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

// What a window holds of an array: its values.
template <class Element>
struct PlainSource {
  using Type = Element;
  const Element* values;

  template <class Access>
  struct Block {
    Access access;
    void read(const Element* at, Floats& lanes) const { access.read(at, lanes); }
  };
  template <class Access>
  Block<Access> block(const Access& access, std::int64_t) const {
    return {access};
  }
};

// The same, normalised.
template <class Element>
struct NormedSource {
  using Type = Element;
  const Element* values;
  InputNorm norm;

  template <class Access>
  struct Block {
    Access access;
    Floats scale, shift, floor;
    void read(const Element* at, Floats& lanes) const {
      access.read(at, lanes);
      lanes = lanes * scale + shift;
      lanes = lanes < floor ? floor : lanes;  // NaN stays
    }
  };
  template <class Access>
  Block<Access> block(const Access& access, std::int64_t channel) const {
    Block<Access> result{access, {}, {}, {}};
    access.read(norm.scale + channel, result.scale);
    access.read(norm.shift + channel, result.shift);
    result.floor = Floats{} + (norm.relu ? 0.0f : -std::numeric_limits<float>::infinity());
    return result;
  }
};

// A ring of planes [frame % slots][row][block][column][lane] of one clip. The columns at both sides stay
// zero.
class SourceWindow {
 public:
  SourceWindow(const GatherAxis& x, ChannelBlocks blocks, std::int64_t slots, std::int64_t rows)
      : columns_(x.source), blocks_(blocks), slots_(slots), rows_(rows) {
    std::int64_t last = x.source - 1;
    for (std::int64_t phase = 0; phase < x.phases; ++phase) {
      const std::int64_t most = (x.target - 1 - phase) / x.phases;
      for (const GatherAxis::Tap& tap : x.taps_of(phase)) {
        left_ = std::max(left_, -tap.offset);
        last = std::max(last, most * x.step + tap.offset);
      }
    }
    width_ = left_ + last + 1;
  }

  void allocate() { values_.resize(static_cast<std::size_t>(slots_ * rows_ * row_floats())); }

  std::int64_t bytes_per_row() const {
    return slots_ * row_floats() * static_cast<std::int64_t>(sizeof(float));
  }

  // Starts on the source rows [begin, end) of a clip of dense [frames, rows, columns, channels].
  void start(std::int64_t begin, std::int64_t end) {
    row_begin_ = begin;
    row_end_ = end;
    loaded_ = -1;
  }

  // Makes the source frames [begin, end) of the clip that starts at an element present; calls go forward in
  // time, at most `slots` frames a call.
  template <class Source, class Access>
  void need(const Source& source, const Access& access, std::int64_t clip, std::int64_t source_rows,
            std::int64_t begin, std::int64_t end) {
    for (std::int64_t frame = std::max(begin, loaded_ + 1); frame < end; ++frame) {
      for (std::int64_t row = row_begin_; row < row_end_; ++row) {
        load(source, access, clip + (frame * source_rows + row) * columns_ * blocks_.channels,
             values_.data() + row_offset(frame, row));
      }
      loaded_ = frame;
    }
  }

  // Of a row's blocks from one another.
  std::int64_t block_floats() const { return width_ * kLanes; }
  const float* values() const { return values_.data(); }

  // Offset at column 0 of the source.
  std::int64_t row_offset(std::int64_t frame, std::int64_t row) const {
    return (frame % slots_ * rows_ + row - row_begin_) * row_floats() + left_ * kLanes;
  }

 private:
  std::int64_t row_floats() const { return blocks_.count() * block_floats(); }

  template <class Source, class Access>
  void load(const Source& source, const Access& access, std::int64_t first, float* target) const {
    using Element = typename Source::Type;
    constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Element));
    const std::int64_t channels = blocks_.channels, size = columns_ * channels;
    for (std::int64_t i = 0; i < size; i += kLine) __builtin_prefetch(source.values + first + size + i);
    for (std::int64_t block = 0; block < blocks_.count(); ++block) {
      const auto reader = source.block(access, blocks_.begin(block));
      const Element* pixel = source.values + first + blocks_.begin(block);
      float* at = target + block * block_floats();
      for (std::int64_t column = 0; column < columns_; ++column, pixel += channels, at += kLanes) {
        Floats lanes;
        reader.read(pixel, lanes);
        store(lanes, at);
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
  LineVector<float> values_;
};

}  // namespace fastpose
