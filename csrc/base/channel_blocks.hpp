// Channels, eight at a time, in float32 whatever the array's format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/floats.hpp"
#include "base/number_formats.hpp"

namespace fastpose {

// Channels in blocks of kLanes. The last block ends with the last channel, so that it may repeat some of the
// block before; only where there are fewer than kLanes channels is a block partly empty.
struct ChannelBlocks {
  std::int64_t channels;

  std::int64_t count() const { return (channels + kLanes - 1) / kLanes; }
  std::int64_t begin(std::int64_t block) const {
    return channels < kLanes || block + 1 < count() ? block * kLanes : channels - kLanes;
  }

  // Where blocks are stored one after another, each with all its lanes.
  std::int64_t slots() const { return count() * kLanes; }
  std::int64_t slot(std::int64_t channel) const {
    const std::int64_t block = channel / kLanes;
    return block * kLanes + channel - begin(block);
  }

  // Lanes past the last channel are read as 0 and not written.
  template <class Element>
  void read_block(const Element* values, Floats& lanes) const {
    if (channels >= kLanes) {
      read(values, lanes);
      return;
    }
    Element padded[kLanes] = {};
    std::memcpy(padded, values, static_cast<std::size_t>(channels) * sizeof(Element));
    read(padded, lanes);
  }

  template <class Target, class Element>
  void write_block(const Floats& lanes, Element* values) const {
    if (channels >= kLanes) {
      write<Target>(lanes, values);
      return;
    }
    Element padded[kLanes];
    write<Target>(lanes, padded);
    std::memcpy(values, padded, static_cast<std::size_t>(channels) * sizeof(Element));
  }
};

// How loops touch a block of any number of channels ≥ kLanes.
template <class Target>
struct WholeBlock {
  template <class Element>
  void read(const Element* values, Floats& lanes) const {
    fastpose::read<Target>(values, lanes);
  }
  template <class Element>
  void write(const Floats& lanes, Element* values) const {
    fastpose::write<Target>(lanes, values);
  }
};

// The same for fewer.
template <class Target>
struct PartBlock {
  ChannelBlocks blocks;

  template <class Element>
  void read(const Element* values, Floats& lanes) const {
    blocks.read_block(values, lanes);
  }
  template <class Element>
  void write(const Floats& lanes, Element* values) const {
    blocks.template write_block<Target>(lanes, values);
  }
};

// Calls body with the one that fits: decided here, not at each element.
template <class Target, class Body>
void with_block_access(const ChannelBlocks& blocks, const Body& body) {
  if (blocks.channels >= kLanes) {
    body(WholeBlock<Target>{});
  } else {
    body(PartBlock<Target>{blocks});
  }
}

}  // namespace fastpose
