// Any bytes go through the parser; what it accepts goes through the selection of bodies.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "decode/body_selector.hpp"
#include "decode/skeleton_parser.hpp"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check_skeleton(const fastpose::Skeleton& skeleton, std::size_t text_size) {
  std::size_t floats = 0;
  for (const fastpose::SkeletonBody& body : skeleton.bodies) {
    require(!body.frames.empty());
    require(body.joints.size() == body.frames.size() * fastpose::kBodyFloats);
    for (std::size_t i = 0; i < body.frames.size(); ++i) {
      require(body.frames[i] >= (i == 0 ? 0 : body.frames[i - 1] + 1) &&
              body.frames[i] < skeleton.num_frames);
    }
    for (const float field : body.joints) require(std::isfinite(field));
    floats += body.joints.size();
  }
  require(2 * floats <= text_size + 1);  // a number takes a digit and a separator
}

void check_selection(const fastpose::Skeleton& skeleton, int max_bodies) {
  const fastpose::BodySelection selection =
      fastpose::select_bodies(fastpose::tracks_of(skeleton), skeleton.num_frames, max_bodies);
  const auto persons = static_cast<std::size_t>(selection.num_persons);
  require((persons == 0) == skeleton.bodies.empty() && selection.num_persons <= max_bodies);
  require(selection.bodies.size() == persons * selection.frames.size());
  const auto present = [&](std::size_t t) {
    for (std::size_t m = 0; m < persons; ++m) {
      if (selection.bodies[m * selection.frames.size() + t] != nullptr) return true;
    }
    return false;
  };
  if (persons > 0) require(present(0) && present(selection.frames.size() - 1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that the sanitizer sees any read beyond it.
  const std::unique_ptr<char[]> text(new char[size]);
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(data[i]);
  fastpose::Skeleton skeleton;
  const fastpose::ParseError error = fastpose::parse_skeleton(text.get(), size, skeleton);
  if (error.code != fastpose::ParseErrorCode::kNone) {
    require(error.line >= 1 && error.column >= 1 && !error.message().empty() && skeleton.bodies.empty());
    return 0;
  }
  check_skeleton(skeleton, size);
  for (const int max_bodies : {1, 2, 3}) check_selection(skeleton, max_bodies);
  return 0;
}
