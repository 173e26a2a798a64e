#include "heatmap/frame_marks.hpp"

#include <algorithm>
#include <cstddef>

#include "base/instructions.hpp"

namespace fastpose {
namespace {

struct Placing {
  FrameMarks& marks;
  std::int64_t clip, frame, first_part;

  template <class Target>
  void run() {
    marks.place_here(clip, frame, first_part);
  }
};

}  // namespace

void FrameMarks::place(std::int64_t clip, std::int64_t frame, std::int64_t first_part) {
  Placing placing{*this, clip, frame, first_part};
  run_on_best_target<Avx2Target>(placing);
}

template <class Visit>
void FrameMarks::for_each_rival(std::int64_t index, Visit visit) const {
  const bool all = maps_.mode == HeatmapMode::kGrayscaleMax;
  const std::int64_t first = all ? 0 : index / maps_.persons * maps_.persons;
  const std::int64_t end = all ? static_cast<std::int64_t>(marks_.size()) : first + maps_.persons;
  const Window& window = marks_[static_cast<std::size_t>(index)].window;
  for (std::int64_t i = first; i < end; ++i) {
    const Window& rival = marks_[static_cast<std::size_t>(i)].window;
    const bool meets =
        window.x0 < rival.x1 && rival.x0 < window.x1 && window.y0 < rival.y1 && rival.y0 < window.y1;
    if (i != index && meets) visit(i);
  }
}

bool FrameMarks::has_rivals(std::int64_t index) const {
  bool found = false;
  for_each_rival(index, [&](std::int64_t) { found = true; });
  return found;
}

void FrameMarks::winning_row(std::int64_t index, std::int64_t y, float* values) {
  const Mark& mark = marks_[static_cast<std::size_t>(index)];
  row_values(mark, y, values);
  for_each_rival(index, [&](std::int64_t i) {
    const Mark& rival = marks_[static_cast<std::size_t>(i)];
    if (y < rival.window.y0 || y >= rival.window.y1) return;
    row_values(rival, y, rival_.data());
    const std::int64_t x0 = std::max(mark.window.x0, rival.window.x0);
    const std::int64_t x1 = std::min(mark.window.x1, rival.window.x1);
    for (std::int64_t x = x0; x < x1; ++x) {
      float& own = values[x - mark.window.x0];
      const float other = rival_[static_cast<std::size_t>(x - rival.window.x0)];
      if (i < index ? other >= own : other > own) own = 0.0f;
    }
  });
}

void FrameMarks::row_values(const Mark& mark, std::int64_t y, float* values) const {
  if (mark.is_segment) {
    segment_row(geometry_, mark, y, values);
    return;
  }
  const float weight = mark.rows[y - mark.window.y0];
  for (std::int64_t i = 0; i < mark.window.x1 - mark.window.x0; ++i) values[i] = weight * mark.columns[i];
}

}  // namespace fastpose
