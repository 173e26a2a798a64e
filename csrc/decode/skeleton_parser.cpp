#include "decode/skeleton_parser.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>

#include "base/guarded.hpp"
#include "decode/number_reader.hpp"

namespace fastpose {
namespace {

constexpr std::array<const char*, kJointFields> kJointFieldNames = {
    "x",      "y",       "z",       "depthX",  "depthY",  "colorX",
    "colorY", "orientW", "orientX", "orientY", "orientZ", "trackingState"};
constexpr std::array<const char*, 9> kBodyFieldNames = {
    "clippedEdges",   "handLeftConfidence", "handLeftState", "handRightConfidence",
    "handRightState", "isRestricted",       "leanX",         "leanY",
    "trackingState"};

// The shortest text there can be, to bound what a count may promise.
constexpr std::int64_t kShortestFrame = 2;                                   // "0\n"
constexpr std::int64_t kShortestBody = 20 + 3 + kJoints * kJointFields * 2;  // "0 0 … 0\n25\n0 0 … 0\n…"

constexpr std::int64_t kMostThings = std::numeric_limits<std::int32_t>::max();

constexpr std::size_t kLongestQuote = 24;

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

std::string quoted(const char* first, const char* last) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text = "'";
  const char* stop = first + std::min<std::size_t>(kLongestQuote, static_cast<std::size_t>(last - first));
  for (const char* p = first; p != stop; ++p) {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte >= 0x20 && byte < 0x7f) {
      text += *p;
    } else {
      text += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return text + (stop == last ? "'" : "'...");
}

struct Token {
  const char* first;
  const char* last;
  bool empty() const { return first == last; }
};

class Parser {
 public:
  Parser(const char* text, std::size_t size, Skeleton& skeleton)
      : next_(text), end_(text + size), line_start_(text), skeleton_(skeleton) {}

  bool parse() {
    std::uint64_t num_frames;
    if (!read_count("the number of frames", kShortestFrame, num_frames)) return false;
    skeleton_.num_frames = static_cast<std::int32_t>(num_frames);
    for (std::int32_t frame = 0; frame < skeleton_.num_frames; ++frame) {
      std::uint64_t num_bodies;
      if (!read_count("the number of bodies in a frame", kShortestBody, num_bodies)) return false;
      for (std::uint64_t i = 0; i < num_bodies; ++i) {
        if (!read_body(frame)) return false;
      }
    }
    return read_end_of_file();
  }

  ParseError error() { return std::move(error_); }

 private:
  bool read_body(std::int32_t frame) {
    const Token id_token = next_token();
    std::uint64_t id;
    if (!read_unsigned(id_token.first, id_token.last, id)) {
      return fail(ParseErrorCode::kBadCount, id_token, "a body id (a whole number from 0 to 2^64 - 1)");
    }
    SkeletonBody& body = find_or_add_body(id, frame);
    if (!body.frames.empty() && body.frames.back() == frame) {
      return fail(ParseErrorCode::kDuplicateBody, id_token, "every body once in a frame");
    }
    for (const char* name : kBodyFieldNames) {
      if (!read_body_field(name)) return false;
    }
    if (!read_end_of_line("a body's 10 numbers") || !read_joint_count()) return false;
    const std::size_t start = body.joints.size();
    body.frames.push_back(frame);
    body.joints.resize(start + kBodyFloats);
    for (int joint = 0; joint < kJoints; ++joint) {
      if (!read_joint(body.joints.data() + start + static_cast<std::size_t>(joint) * kJointFields))
        return false;
    }
    return true;
  }

  SkeletonBody& find_or_add_body(std::uint64_t id, std::int32_t frame) {
    const auto [place, is_new] = body_index_.try_emplace(id, skeleton_.bodies.size());
    if (!is_new) return skeleton_.bodies[place->second];
    SkeletonBody& body = skeleton_.bodies.emplace_back();
    body.id = id;
    if (skeleton_.bodies.size() == 1) {  // most clips show one body, from its first frame to the end
      const auto most =
          std::min<std::int64_t>(skeleton_.num_frames - frame, bytes_left() / kShortestBody + 1);
      body.frames.reserve(static_cast<std::size_t>(most));
      body.joints.reserve(static_cast<std::size_t>(most) * kBodyFloats);
    }
    return body;
  }

  bool read_body_field(const char* name) {
    const Token token = next_token();
    float value;
    if (!read_number(token.first, token.last, value)) {
      return fail(ParseErrorCode::kBadNumber, token, std::string("a body's ") + name);
    }
    if (!std::isfinite(value)) {
      return fail(ParseErrorCode::kNotFinite, token, std::string("a finite number for a body's ") + name);
    }
    return true;
  }

  bool read_joint_count() {
    const Token token = next_token();
    std::uint64_t count;
    if (!read_unsigned(token.first, token.last, count)) {
      return fail(ParseErrorCode::kBadCount, token, "the number of joints, 25");
    }
    if (count != kJoints) return fail(ParseErrorCode::kWrongJointCount, token, "25 joints");
    return read_end_of_line("the number of joints");
  }

  // Reads a line of 12 numbers; a non-finite one makes the joint lost.
  bool read_joint(float* fields) {
    bool finite = true;
    const char* p = next_;
    for (int i = 0; i < kJointFields - 1; ++i) {
      const char* after = end_ - p >= kPlainNumberWindow ? read_plain_number(p, fields[i]) : nullptr;
      if (after == nullptr) [[unlikely]] {
        next_ = p;
        if (!read_joint_field(i, fields[i], finite)) return false;
        after = next_ + (next_ != end_ && *next_ == ' ');
      }
      p = after;
    }
    next_ = p;
    if (!read_tracking_state(fields[kJointFields - 1], finite)) return false;
    if (!finite) [[unlikely]] {
      std::fill_n(fields, kJointFields, 0.0F);
      ++skeleton_.lost_joints;
    }
    return true;
  }

  bool read_tracking_state(float& value, bool& finite) {
    const char* p = next_;
    if (end_ - p >= 3 && is_digit(p[0]) && p[1 + (p[1] == '\r')] == '\n') {
      value = static_cast<float>(p[0] - '0');
      begin_line(p + 2 + (p[1] == '\r'));
      return true;
    }
    return read_joint_field(kJointFields - 1, value, finite) && read_end_of_line("a joint's 12 numbers");
  }

  [[gnu::noinline]] bool read_joint_field(int index, float& value, bool& finite) {
    const Token token = next_token();
    if (!read_number(token.first, token.last, value)) {
      return fail(ParseErrorCode::kBadNumber, token,
                  std::string(kJointFieldNames[static_cast<std::size_t>(index)]) + " (number " +
                      std::to_string(index + 1) + " of a joint's 12)");
    }
    finite &= std::isfinite(value);
    return true;
  }

  // Reads a line that holds a count of things of which each takes at least `shortest` bytes.
  bool read_count(const char* what, std::int64_t shortest, std::uint64_t& count) {
    const Token token = next_token();
    if (!read_unsigned(token.first, token.last, count)) {
      return fail(ParseErrorCode::kBadCount, token, std::string(what) + " (a whole number, 0 or more)");
    }
    const std::int64_t room = std::min<std::int64_t>(bytes_left() / shortest, kMostThings);
    if (count > static_cast<std::uint64_t>(room)) {
      return fail(ParseErrorCode::kCountExceedsFile, token,
                  std::string(what) + " to be at most " + std::to_string(room) +
                      ", for which the rest of the file has room");
    }
    return read_end_of_line(what);
  }

  bool read_end_of_line(const char* after) {
    const Token token = next_token();
    if (!token.empty()) {
      return fail(ParseErrorCode::kLineTooLong, token, std::string("the end of the line after ") + after);
    }
    if (next_ != end_) begin_line(next_ + 1);
    return true;
  }

  bool read_end_of_file() {
    for (;;) {
      const Token token = next_token();
      if (!token.empty()) {
        return fail(ParseErrorCode::kTrailingText, token,
                    "the end of the file after its " + std::to_string(skeleton_.num_frames) + " frames");
      }
      if (next_ == end_) return true;
      begin_line(next_ + 1);
    }
  }

  // The next run of non-blank characters on this line; empty at the line's end.
  Token next_token() {
    while (next_ != end_ && is_blank(*next_)) ++next_;
    const char* first = next_;
    while (next_ != end_ && *next_ != '\n' && !is_blank(*next_)) ++next_;
    return {first, next_};
  }

  void begin_line(const char* start) {
    next_ = line_start_ = start;
    ++line_;
  }

  std::int64_t bytes_left() const { return end_ - next_; }

  bool fail(ParseErrorCode code, const Token& token, std::string expected) {
    std::string found = !token.empty()        ? quoted(token.first, token.last)
                        : token.first == end_ ? "the end of the file"
                                              : "the end of the line";
    error_ = {code, line_, token.first - line_start_ + 1, std::move(expected), std::move(found)};
    return false;
  }

  const char* next_;
  const char* end_;
  const char* line_start_;
  std::int64_t line_ = 1;
  Skeleton& skeleton_;
  std::map<std::uint64_t, std::size_t> body_index_;
  ParseError error_;
};

}  // namespace

std::string ParseError::message() const {
  if (code == ParseErrorCode::kOutOfMemory) return "not enough memory";
  return "line " + std::to_string(line) + ", column " + std::to_string(column) + ": expected " + expected +
         ", found " + found;
}

ParseError parse_skeleton(const char* text, std::size_t size, Skeleton& skeleton) noexcept {
  skeleton = Skeleton{};
  ParseError error;
  const bool done = guarded([&] {
    Parser parser(text, size, skeleton);
    if (!parser.parse()) error = parser.error();
  });
  if (!done) error.code = ParseErrorCode::kOutOfMemory;
  if (error.code != ParseErrorCode::kNone) skeleton = Skeleton{};
  return error;
}

}  // namespace fastpose
