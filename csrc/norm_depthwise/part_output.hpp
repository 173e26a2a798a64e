// Where parts of an array are written block by block: in a first-level cache, from where each is copied at
// once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block_copy.hpp"
#include "base/line_vector.hpp"
#include "norm_depthwise/row_parts.hpp"

namespace fastpose {

template <class Element>
class PartOutput {
 public:
  // `array` may be null, where nothing is written. `cached`: its lines are in the caches already.
  PartOutput(const BatchNorm& norm, const Parts& parts, void* array, bool cached = false)
      : parts_(parts), channels_(norm.channels), array_(static_cast<Element*>(array)) {
    const std::int64_t bytes = norm.rows * channels_ * static_cast<std::int64_t>(sizeof(Element));
    streams_ = !cached && bytes > kStreamingBytes;
    copy_ = streams_ ? streaming_copy() : cached_copy();
    if (array != nullptr) rows_.resize(static_cast<std::size_t>(parts.part_rows * channels_));
  }
  PartOutput(const PartOutput&) = delete;
  ~PartOutput() {
    if (streams_) finish_streaming();
  }

  // The rows of a part, until they are copied to their place.
  Element* rows() { return rows_.data(); }
  void finish(std::int64_t part) const {
    copy_(reinterpret_cast<std::byte*>(array_ + parts_.begin(part) * channels_),
          reinterpret_cast<const std::byte*>(rows_.data()),
          static_cast<std::size_t>(parts_.size(part) * channels_) * sizeof(Element));
  }

 private:
  const Parts& parts_;
  std::int64_t channels_;
  Element* array_;
  bool streams_;
  BlockCopy copy_;
  LineVector<Element> rows_;
};

}  // namespace fastpose
