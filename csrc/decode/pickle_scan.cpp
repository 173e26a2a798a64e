#include "decode/pickle_scan.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/guarded.hpp"

namespace fastpose {
namespace {

enum class Argument : std::uint8_t {
  kFixed,     // `width` bytes, a little-endian number
  kCounted,   // as many bytes as a number of `width` bytes says
  kFrame,     // the same, but opcodes lie in them
  kLine,      // up to a newline
  kTwoLines,  // a module and a name
};

enum class Effect : std::uint8_t {
  kUnknown,
  kNone,
  kText,    // leaves a text
  kValue,   // takes values and leaves a new one
  kTuple,   // takes values and leaves a tuple of them
  kChange,  // takes values and changes the one below
  kDrop,    // takes values
  kMark,
  kPop,  // takes a value or a mark
  kCopy,
  kGet,
  kPut,
  kMemoize,
  kStop,
};

constexpr std::uint8_t kToMark = 255;

struct Opcode {
  Effect effect = Effect::kUnknown;
  std::uint8_t taken = 0;  // values; kToMark: all above the last mark
  Argument argument = Argument::kFixed;
  std::uint8_t width = 0;
  bool is_number = false;       // whose argument may be no longer than kLongestNumber
  std::uint8_t key_stride = 0;  // of the values taken, each so many is hashed, from the first
  std::uint16_t cost =
      8;  // bytes that the unpickler takes, beside the argument's; for each key if there are some
};

constexpr std::array<Opcode, 256> opcode_table() {
  std::array<Opcode, 256> table;
  const auto set = [&](const char* codes, Opcode opcode) {
    for (; *codes != '\0'; ++codes) table[static_cast<std::uint8_t>(*codes)] = opcode;
  };
  const auto value = [](Argument argument, std::uint8_t width, std::uint16_t cost = 40,
                        bool is_number = false) {
    return Opcode{Effect::kValue, 0, argument, width, is_number, 0, cost};
  };
  const auto text = [](Argument argument, std::uint8_t width) {
    return Opcode{Effect::kText, 0, argument, width, false, 0, 64};
  };
  const auto keyed = [](Effect effect, std::uint8_t taken, std::uint8_t stride, std::uint16_t cost) {
    return Opcode{effect, taken, Argument::kFixed, 0, false, stride, cost};
  };
  set("N\x88\x89)\x97", {Effect::kValue});         // None, booleans, an empty tuple, a buffer
  set("]}\x8f", value(Argument::kFixed, 0, 240));  // with what the first items take
  set("K", value(Argument::kFixed, 1, 8));
  set("\x82", value(Argument::kFixed, 1));
  set("M\x83", value(Argument::kFixed, 2));
  set("J\x84", value(Argument::kFixed, 4));
  set("G", value(Argument::kFixed, 8));
  set("U\x8c", text(Argument::kCounted, 1));
  set("TX", text(Argument::kCounted, 4));
  set("\x8d", text(Argument::kCounted, 8));
  set("C", value(Argument::kCounted, 1, 64));
  set("B", value(Argument::kCounted, 4, 64));
  set("\x8e\x96", value(Argument::kCounted, 8, 64));
  set("\x8a", value(Argument::kCounted, 1, 40, true));
  set("\x8b", value(Argument::kCounted, 4, 40, true));
  set("ILF", value(Argument::kLine, 0, 40, true));
  set("SV", text(Argument::kLine, 0));
  set("P", value(Argument::kLine, 0));
  set("c", value(Argument::kTwoLines, 0, 120));

  set("Q", {Effect::kValue, 1});                                              // BINPERSID
  set("\x93R\x81", {Effect::kValue, 2, Argument::kFixed, 0, false, 0, 240});  // STACK_GLOBAL, REDUCE, NEWOBJ
  set("\x92", {Effect::kValue, 3, Argument::kFixed, 0, false, 0, 240});       // NEWOBJ_EX
  set("lo", {Effect::kValue, kToMark, Argument::kFixed, 0, false, 0, 240});   // LIST, OBJ
  set("i", {Effect::kValue, kToMark, Argument::kTwoLines, 0, false, 0, 240});
  set("d", keyed(Effect::kValue, kToMark, 2, 240));
  set("\x91", keyed(Effect::kValue, kToMark, 1, 240));  // FROZENSET

  set("t", {Effect::kTuple, kToMark, Argument::kFixed, 0, false, 0, 64});
  set("\x85\x86\x87", {Effect::kTuple, 1, Argument::kFixed, 0, false, 0, 80});
  table[0x86].taken = 2;
  table[0x87].taken = 3;

  set("\x98", {Effect::kChange, 0});     // READONLY_BUFFER
  set("ab", {Effect::kChange, 1});       // APPEND, BUILD
  set("e", {Effect::kChange, kToMark});  // APPENDS
  set("s", keyed(Effect::kChange, 2, 2, 120));
  set("u", keyed(Effect::kChange, kToMark, 2, 120));
  set("\x90", keyed(Effect::kChange, kToMark, 1, 120));  // ADDITEMS

  set("(", {Effect::kMark, 0, Argument::kFixed, 0, false, 0, 24});
  set("0", {Effect::kPop});
  set("1", {Effect::kDrop, kToMark});
  set("2", {Effect::kCopy});
  set("g", {Effect::kGet, 0, Argument::kLine});
  set("h", {Effect::kGet, 0, Argument::kFixed, 1});
  set("j", {Effect::kGet, 0, Argument::kFixed, 4});
  set("p", {Effect::kPut, 0, Argument::kLine});
  set("q", {Effect::kPut, 0, Argument::kFixed, 1});
  set("r", {Effect::kPut, 0, Argument::kFixed, 4});
  set("\x94", {Effect::kMemoize});
  set("\x80", {Effect::kNone, 0, Argument::kFixed, 1});  // PROTO
  set("\x95", {Effect::kNone, 0, Argument::kFrame, 8});
  set(".", {Effect::kStop});
  return table;
}

constexpr std::array<Opcode, 256> kOpcodes = opcode_table();

// Runs the unpickler's stack and memo on what a key of each value would cost: 1, of text kText, or for a
// tuple 1 and the sum of its values, at most kTooLargeKey.
class Scanner {
 public:
  Scanner(const char* pickle, std::size_t size)
      : begin_(pickle), next_(pickle), end_(pickle + size), most_cost_(kCostPerByte * size + kFreeCost) {}

  PickleError scan() {
    PickleErrorCode code = PickleErrorCode::kNone;
    const char* start = next_;
    std::uint8_t byte = 0;
    while (code == PickleErrorCode::kNone) {
      start = next_;
      if (next_ == end_) return {PickleErrorCode::kNoStop, end_ - begin_, 0};
      byte = static_cast<std::uint8_t>(*next_++);
      const Opcode& opcode = kOpcodes[byte];
      code = read_argument(opcode);
      if (code != PickleErrorCode::kNone) break;
      code = obey(opcode, static_cast<std::uint64_t>(start - begin_));
      if (opcode.effect == Effect::kStop) break;
    }
    return {code, start - begin_, byte};
  }

 private:
  static constexpr std::uint8_t kText = 0;
  static constexpr std::uint64_t kMemoCost = 24;  // of an index: the unpickler doubles its table

  PickleErrorCode read_argument(const Opcode& opcode) {
    argument_ = next_;
    std::uint64_t size = 0;
    if (opcode.argument == Argument::kLine || opcode.argument == Argument::kTwoLines) {
      const int lines = opcode.argument == Argument::kTwoLines ? 2 : 1;
      for (int line = 0; line < lines; ++line) {
        const auto room = static_cast<std::size_t>(end_ - next_);
        const void* newline = room == 0 ? nullptr : std::memchr(next_, '\n', room);
        if (newline == nullptr) return PickleErrorCode::kCut;
        next_ = static_cast<const char*>(newline) + 1;
      }
      size = static_cast<std::uint64_t>(next_ - argument_) - 1;
    } else {
      if (bytes_left() < opcode.width) return PickleErrorCode::kCut;
      number_ = 0;
      for (int i = opcode.width - 1; i >= 0; --i)
        number_ = number_ << 8 | static_cast<std::uint8_t>(next_[i]);
      next_ += opcode.width;
      if (opcode.argument != Argument::kFixed) {
        if (number_ > bytes_left()) return PickleErrorCode::kCut;
        size = number_;
        if (opcode.argument == Argument::kCounted) next_ += number_;
      }
    }
    cost_ += opcode.cost + (opcode.argument == Argument::kFrame ? 0 : size);
    return opcode.is_number && size > kLongestNumber ? PickleErrorCode::kLongNumber : PickleErrorCode::kNone;
  }

  PickleErrorCode obey(const Opcode& opcode, std::uint64_t position) {
    const PickleErrorCode code = change_stack(opcode, position);
    return code == PickleErrorCode::kNone && cost_ > most_cost_ ? PickleErrorCode::kCost : code;
  }

  PickleErrorCode change_stack(const Opcode& opcode, std::uint64_t position) {
    switch (opcode.effect) {
      case Effect::kUnknown:
        return PickleErrorCode::kUnknownOpcode;
      case Effect::kNone:
        return PickleErrorCode::kNone;
      case Effect::kText:
        stack_.push_back(kText);
        return PickleErrorCode::kNone;
      case Effect::kValue:
      case Effect::kTuple:
      case Effect::kChange:
      case Effect::kDrop:
        return take(opcode);
      case Effect::kMark:
        marks_.push_back(stack_.size());
        fence_ = stack_.size();
        return PickleErrorCode::kNone;
      case Effect::kPop:
        if (stack_.size() > fence_) {
          stack_.pop_back();
          return PickleErrorCode::kNone;
        }
        return drop_mark() ? PickleErrorCode::kNone : PickleErrorCode::kEmptyStack;
      case Effect::kGet: {
        if (opcode.argument == Argument::kLine && !read_index()) return PickleErrorCode::kMemoIndex;
        const bool is_there = number_ < memo_.size() && memo_[number_] != 0;
        stack_.push_back(is_there ? static_cast<std::uint8_t>(memo_[number_] - 1)
                                  : 1);  // what was never put is told
        return PickleErrorCode::kNone;
      }
      case Effect::kCopy:
      case Effect::kPut:
      case Effect::kMemoize:
      case Effect::kStop:
        break;
    }
    if (stack_.size() <= fence_) return PickleErrorCode::kEmptyStack;
    if (opcode.effect == Effect::kCopy) {
      stack_.push_back(stack_.back());
    } else if (opcode.effect == Effect::kPut) {
      if (opcode.argument == Argument::kLine && !read_index()) return PickleErrorCode::kMemoIndex;
      if (number_ > position) return PickleErrorCode::kMemoIndex;
      put(number_);
    } else if (opcode.effect == Effect::kMemoize) {
      put(num_memoized_);
    }
    return PickleErrorCode::kNone;
  }

  PickleErrorCode take(const Opcode& opcode) {
    std::size_t first = fence_;
    if (opcode.taken == kToMark) {
      if (!drop_mark()) return PickleErrorCode::kEmptyStack;
    } else {
      if (stack_.size() - fence_ < opcode.taken) return PickleErrorCode::kEmptyStack;
      first = stack_.size() - opcode.taken;
    }
    if (opcode.key_stride != 0) {
      for (std::size_t i = first; i < stack_.size(); i += opcode.key_stride) {
        if (stack_[i] == kTooLargeKey) return PickleErrorCode::kLargeKey;
        if (stack_[i] != kText && ++number_keys_ > kMostNumberKeys) return PickleErrorCode::kManyKeys;
        cost_ += opcode.cost;
      }
    }
    std::uint8_t cost = 1;
    if (opcode.effect == Effect::kTuple) {
      for (std::size_t i = first; i < stack_.size(); ++i) {
        cost = static_cast<std::uint8_t>(std::min<int>(cost + std::max<int>(stack_[i], 1), kTooLargeKey));
      }
      cost_ += 8 * (stack_.size() - first);
    }
    stack_.resize(first);
    if (opcode.effect == Effect::kChange) {
      return stack_.size() > fence_ ? PickleErrorCode::kNone : PickleErrorCode::kEmptyStack;
    }
    if (opcode.effect != Effect::kDrop) stack_.push_back(cost);
    return PickleErrorCode::kNone;
  }

  bool drop_mark() {
    if (marks_.empty()) return false;
    marks_.pop_back();
    fence_ = marks_.empty() ? 0 : marks_.back();
    return true;
  }

  void put(std::uint64_t index) {
    if (index >= memo_.size()) {
      cost_ += kMemoCost * (index + 1 - memo_.size());
      if (cost_ > most_cost_) return;  // which is told
      memo_.resize(index + 1);
    }
    num_memoized_ += memo_[index] == 0;
    memo_[index] = static_cast<std::uint16_t>(stack_.back() + 1);
  }

  // Reads the line just passed as a number of digits alone.
  bool read_index() {
    const char* last = next_ - 1;
    if (last == argument_ || last - argument_ > 18) return false;
    number_ = 0;
    for (const char* p = argument_; p != last; ++p) {
      if (*p < '0' || *p > '9') return false;
      number_ = number_ * 10 + static_cast<std::uint64_t>(*p - '0');
    }
    return true;
  }

  std::uint64_t bytes_left() const { return static_cast<std::uint64_t>(end_ - next_); }

  const char* begin_;
  const char* next_;
  const char* end_;
  const char* argument_ = nullptr;  // where the current opcode's begins
  std::uint64_t number_ = 0;        // which it is, or whose length
  std::vector<std::uint8_t> stack_;
  std::vector<std::size_t> marks_;   // heights of the stack
  std::size_t fence_ = 0;            // the last of them: nothing below is in reach
  std::vector<std::uint16_t> memo_;  // 1 more than the value; 0 where nothing was put
  std::uint64_t num_memoized_ = 0;
  std::uint64_t most_cost_;
  std::uint64_t cost_ = 0;  // bytes that the unpickler has taken
  std::uint64_t number_keys_ = 0;
};

}  // namespace

std::string PickleError::message() const {
  static constexpr char kHex[] = "0123456789abcdef";
  const std::string place = "byte " + std::to_string(position) + ": ";
  switch (code) {
    case PickleErrorCode::kNone:
      return "";
    case PickleErrorCode::kUnknownOpcode:
      return place + "0x" + kHex[opcode >> 4] + kHex[opcode & 15] + " is no opcode of a pickle";
    case PickleErrorCode::kCut:
      return place + "it is cut off, or has a length beyond its end";
    case PickleErrorCode::kNoStop:
      return place + "it ends here, without the opcode STOP";
    case PickleErrorCode::kLongNumber:
      return place + "a number of more than " + std::to_string(kLongestNumber) + " bytes";
    case PickleErrorCode::kMemoIndex:
      return place + "its memo index is no whole number from 0 to " + std::to_string(position);
    case PickleErrorCode::kEmptyStack:
      return place + "it takes a value that is not there";
    case PickleErrorCode::kLargeKey:
      return place + "a key of a dict or an item of a set is a tuple of more than " +
             std::to_string(kTooLargeKey - 2) + " values";
    case PickleErrorCode::kManyKeys:
      return place + "more than " + std::to_string(kMostNumberKeys) +
             " keys of dicts and items of sets that are no text";
    case PickleErrorCode::kCost:
      return place + "what it builds takes far more memory than the file has bytes";
    case PickleErrorCode::kOutOfMemory:
      return "not enough memory";
  }
  return "";
}

PickleError scan_pickle(const char* pickle, std::size_t size) noexcept {
  PickleError error;
  const bool done = guarded([&] { error = Scanner(pickle, size).scan(); });
  if (!done) error.code = PickleErrorCode::kOutOfMemory;
  return error;
}

}  // namespace fastpose
