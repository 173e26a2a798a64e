// A pickle's opcodes, looked over once before an unpickler obeys them: nothing is built. Never throws, and
// allocates less than it lets the unpickler take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fastpose {

// Python's own limit for whole numbers as text is 4300 digits, about 1800 bytes.
constexpr std::size_t kLongestNumber = 1024;

// A tuple is hashed anew by whatever it is a key of, with all tuples in it, however often one is shared, and
// by recursion. Counted are the tuples and what they hold.
constexpr std::uint8_t kTooLargeKey = 255;

// What an unpickler may take, in bytes as CPython counts them: so many for each of the pickle's, and these
// beside.
constexpr std::uint64_t kCostPerByte = 4;
constexpr std::uint64_t kFreeCost = std::uint64_t{1} << 28;

// Keys and items that are no text. Hashes of numbers are known beforehand, so those of equal hash can be
// chosen, and each is then compared with all before it.
constexpr std::uint64_t kMostNumberKeys = 10'000;

enum class PickleErrorCode {
  kNone,
  kUnknownOpcode,
  kCut,         // an argument or a frame reaches beyond the end
  kNoStop,      // the end, and no STOP before it
  kLongNumber,  // longer than kLongestNumber
  kMemoIndex,   // no number, or larger than its place in the pickle: an unpickler allocates that much
  kEmptyStack,  // something is taken that is not there
  kLargeKey,    // a dict's key or a set's item is a tuple of kTooLargeKey values or more
  kManyKeys,    // more than kMostNumberKeys of these are no text
  kCost,        // it takes far more memory than it has bytes
  kOutOfMemory,
};

struct PickleError {
  PickleErrorCode code = PickleErrorCode::kNone;
  std::int64_t position = 0;  // of the opcode, in bytes from 0
  std::uint8_t opcode = 0;

  // "byte 3: its memo index is no whole number from 0 to 3"
  std::string message() const;
};

// Looks at [pickle, pickle + size) up to its first STOP. What is well formed and small enough remains to be
// judged by the unpickler: what globals it asks for, what types its values have.
PickleError scan_pickle(const char* pickle, std::size_t size) noexcept;

}  // namespace fastpose
