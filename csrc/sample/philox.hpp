// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011). Every number is a function of (seed; clip, epoch, stream, purpose, block), so it
// does not depend on the order of work, on threads or on workers.
#pragma once

#include <array>
#include <cstdint>

namespace fastpose {

using PhiloxKey = std::array<std::uint32_t, 2>;
using PhiloxBlock = std::array<std::uint32_t, 4>;

// The ten rounds. Inlined into loops over counters, it vectorises.
inline constexpr PhiloxBlock philox4x32_10(PhiloxBlock counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// What a clip's numbers are drawn for; each purpose has blocks of its own.
enum class Purpose : std::uint32_t {
  kFrames = 0,
  kNoise = 1,
  kCropAndFlip = 2,
  kAlpha = 3,  // how much of which noise
  kInput = 4,
  kHits = 5,    // which joints, or persons, of a frame
  kLosses = 6,  // which limbs, or frames, of a clip
};

// The numbers of one clip in one epoch and stream (0..15).
class ClipRandom {
 public:
  static constexpr std::uint32_t kMaxBlocks = 1u << 24;  // of one purpose

  constexpr ClipRandom(std::uint64_t seed, std::uint64_t name_hash, std::uint32_t epoch, std::uint32_t stream)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        counter_{static_cast<std::uint32_t>(name_hash), static_cast<std::uint32_t>(name_hash >> 32), epoch,
                 stream << 28} {}

  // Counter of a purpose's block 0; block b adds b to its last word.
  constexpr PhiloxBlock counter(Purpose purpose) const {
    return {counter_[0], counter_[1], counter_[2], counter_[3] | static_cast<std::uint32_t>(purpose) << 24};
  }

  // The same for the numbers of one frame of the video: its place is added to the hash.
  constexpr PhiloxBlock counter(Purpose purpose, std::int32_t frame) const {
    const std::uint64_t hash =
        (std::uint64_t{counter_[1]} << 32 | counter_[0]) + static_cast<std::uint32_t>(frame);
    PhiloxBlock at = counter(purpose);
    at[0] = static_cast<std::uint32_t>(hash);
    at[1] = static_cast<std::uint32_t>(hash >> 32);
    return at;
  }

  constexpr PhiloxBlock block(Purpose purpose, std::uint32_t block) const {
    PhiloxBlock at = counter(purpose);
    at[3] |= block;
    return philox4x32_10(at, key_);
  }

  constexpr const PhiloxKey& key() const { return key_; }

 private:
  PhiloxKey key_;
  PhiloxBlock counter_;
};

// The words of a purpose one after the other, or those of one frame: word i is word i % 4 of block i / 4.
class RandomWords {
 public:
  constexpr RandomWords(const ClipRandom& random, Purpose purpose)
      : key_(random.key()), counter_(random.counter(purpose)) {}
  constexpr RandomWords(const ClipRandom& random, Purpose purpose, std::int32_t frame)
      : key_(random.key()), counter_(random.counter(purpose, frame)) {}

  constexpr std::uint32_t next() {
    if (position_ == 4) {
      position_ = 0;
      ++counter_[3];
    }
    if (position_ == 0) block_ = philox4x32_10(counter_, key_);
    return block_[position_++];
  }

 private:
  PhiloxKey key_;
  PhiloxBlock counter_;  // of the block of the next word, or, at its end, of the one before
  PhiloxBlock block_{};
  std::uint32_t position_ = 0;
};

// A number of [0, n), uniform but for a bias of n / 2^32.
inline constexpr std::uint32_t below(std::uint32_t word, std::uint32_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{word} * n) >> 32);
}

// A multiple of 2^-24 in [0, 1), exact in float32.
inline constexpr float uniform(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

// A number of [low, high), or both where they are equal.
inline constexpr double between(std::uint32_t word, double low, double high) {
  return low + double{uniform(word)} * (high - low);
}

}  // namespace fastpose
