// Eight channels at a time, in float32 whatever the array's format. Vectors of the compiler, which become
// SSE2 or AVX2 by the caller's target; passed by reference, as their calling convention depends on it.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/value_blocks.hpp"

namespace fastpose {

inline constexpr std::int64_t kLanes = 8;

using Lanes [[gnu::vector_size(32)]] = float;
using LaneBits [[gnu::vector_size(32)]] = std::uint32_t;
using LaneHalves [[gnu::vector_size(16)]] = std::uint16_t;

inline void read(const float* values, Lanes& lanes) {
  std::memcpy(&lanes, values, sizeof(lanes));
}

inline void read(const BFloat16* values, Lanes& lanes) {
  LaneHalves halves;
  std::memcpy(&halves, values, sizeof(halves));
  lanes = reinterpret_cast<Lanes>(__builtin_convertvector(halves, LaneBits) << 16);
}

// The same by the target's own instruction: as a template has no target, GCC splits the conversion above.
template <class Target>
void read(const float* values, Lanes& lanes) {
  read(values, lanes);
}

template <class Target>
void read(const BFloat16* values, Lanes& lanes) {
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__clang__)
  if constexpr (Target::kWidens) {
    LaneHalves halves;
    std::memcpy(&halves, values, sizeof(halves));
    LaneBits bits;
    asm("vpmovzxwd %1, %0" : "=v"(bits) : "vm"(halves));
    lanes = reinterpret_cast<Lanes>(bits << 16);
    return;
  }
#endif
  read(values, lanes);
}

template <class Target>
void write(const Lanes& lanes, float* values) {
  std::memcpy(values, &lanes, sizeof(lanes));
}

// Rounds to nearest even; NaN stays NaN. The instruction makes subnormal values 0.
template <class Target>
void write(const Lanes& lanes, BFloat16* values) {
  LaneHalves halves;
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__clang__)
  // In assembly, for a template has no target of its own; GCC inlines it into a function that has.
  if constexpr (Target::kRoundsToBFloat16) {
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(lanes));
    std::memcpy(values, &halves, sizeof(halves));
    return;
  }
#endif
  const LaneBits bits = reinterpret_cast<LaneBits>(lanes);
  const LaneBits rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const LaneBits finite = lanes == lanes ? rounded : LaneBits{} + 0x7FC0u;
  halves = __builtin_convertvector(finite, LaneHalves);
  std::memcpy(values, &halves, sizeof(halves));
}

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
  void read_block(const Element* values, Lanes& lanes) const {
    if (channels >= kLanes) {
      read(values, lanes);
      return;
    }
    Element padded[kLanes] = {};
    std::memcpy(padded, values, static_cast<std::size_t>(channels) * sizeof(Element));
    read(padded, lanes);
  }

  template <class Target, class Element>
  void write_block(const Lanes& lanes, Element* values) const {
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
  void read(const Element* values, Lanes& lanes) const {
    fastpose::read<Target>(values, lanes);
  }
  template <class Element>
  void write(const Lanes& lanes, Element* values) const {
    fastpose::write<Target>(lanes, values);
  }
};

// The same for fewer.
template <class Target>
struct PartBlock {
  ChannelBlocks blocks;

  template <class Element>
  void read(const Element* values, Lanes& lanes) const {
    blocks.read_block(values, lanes);
  }
  template <class Element>
  void write(const Lanes& lanes, Element* values) const {
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
