// Volumes of rows in blocks that fit a second-level cache.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "row_conv/row_conv.hpp"

namespace fastpose {

struct Span {
  std::int64_t begin, end;

  std::int64_t size() const { return end - begin; }
};

// Some clips, frames and lines, and all columns.
struct RowBlock {
  Span clips, frames, lines;
};

// Axes along which the kernel has one tap and no stride are one, which gives longer blocks.
inline RowConv merge_axes(RowConv conv) {
  const auto plain = [&](std::size_t axis) { return conv.kernel[axis] == 1 && conv.stride[axis] == 1; };
  if (plain(1) && plain(2)) {
    conv.input = {conv.input[0], conv.input[1] * conv.input[2], 1};
    if (plain(0)) {
      conv.input = {1, conv.batch * conv.input[0] * conv.input[1], 1};
      conv.batch = 1;
    }
  }
  return conv;
}

// Volumes of `size` for each of `batch` clips, cut into blocks of about as many rows as half a second-level
// cache holds of the wider of both sides of the convolution.
class RowBlocks {
 public:
  RowBlocks(const RowConv& conv, const Volume& size) : batch_(conv.batch), size_(size) {
    constexpr std::int64_t kBytes = 128 << 10, kFewest = 64, kMost = 1024;
    const std::int64_t row_bytes =
        static_cast<std::int64_t>(sizeof(float)) * std::max(conv.in_channels, conv.out_channels);
    const std::int64_t rows = std::clamp(kBytes / row_bytes, kFewest, kMost);
    const std::int64_t columns = std::max<std::int64_t>(1, size[2]);
    if (conv.kernel[1] == 1 && conv.kernel[2] == 1 &&
        conv.kernel[0] > 1) {  // neighbours in time are read again
      frames_ = std::clamp<std::int64_t>(rows / columns, 1, size[0]);
      lines_ = std::clamp<std::int64_t>(rows / (columns * frames_), 1, size[1]);
    } else {
      lines_ = std::clamp<std::int64_t>(rows / columns, 1, size[1]);
      frames_ = std::clamp<std::int64_t>(rows / (columns * lines_), 1, size[0]);
    }
    clips_ = frames_ == size[0] && lines_ == size[1]
                 ? std::clamp<std::int64_t>(rows / (columns * frames_ * lines_), 1, batch_)
                 : 1;
  }

  std::int64_t count() const {
    return parts(batch_, clips_) * parts(size_[0], frames_) * parts(size_[1], lines_);
  }

  RowBlock block(std::int64_t index) const {
    const std::int64_t along_lines = parts(size_[1], lines_), along_frames = parts(size_[0], frames_);
    return {part(batch_, clips_, index / (along_lines * along_frames)),
            part(size_[0], frames_, index / along_lines % along_frames),
            part(size_[1], lines_, index % along_lines)};
  }

 private:
  static std::int64_t parts(std::int64_t size, std::int64_t step) { return (size + step - 1) / step; }
  static Span part(std::int64_t size, std::int64_t step, std::int64_t index) {
    return {index * step, std::min(size, (index + 1) * step)};
  }

  std::int64_t batch_;
  Volume size_;
  std::int64_t clips_, frames_, lines_;
};

// Calls run(first row, rows) for each run of a block's rows that are neighbours in a volume of `size`.
template <class Run>
void each_run(const RowBlock& block, const Volume& size, const Run& run) {
  const std::int64_t rows = block.lines.size() * size[2];
  for (std::int64_t clip = block.clips.begin; clip < block.clips.end; ++clip) {
    for (std::int64_t frame = block.frames.begin; frame < block.frames.end; ++frame) {
      run(((clip * size[0] + frame) * size[1] + block.lines.begin) * size[2], rows);
    }
  }
}

// What a window of a volume holds along one axis: `size` places, of which place i is coordinate
// first + i·step.
struct Window {
  std::int64_t first, step, size;
};

// What is read along one axis for the outputs of `span`, and the distance in it from one output to the next.
struct InputWindow {
  Window window;
  std::int64_t step;
};
inline InputWindow input_window(const RowConv& conv, std::size_t axis, const Span& span) {
  const std::int64_t kernel = conv.kernel[axis], stride = conv.stride[axis];
  if (kernel == 1) return {{span.begin * stride, stride, span.size()}, 1};
  return {{span.begin * stride - kernel / 2, 1, (span.size() - 1) * stride + kernel}, stride};
}

// Copies windows of volumes [batch, size, channels], with the value `outside` where those end, by
// write(to, from, rows) for runs of rows that are neighbours, of which `from` is the number of the first.
template <class Value, class Write>
void read_windows(const Volume& size, std::int64_t channels, const Span& clips, const Window (&windows)[3],
                  Value* result, Value outside, const Write& write) {
  const auto inside = [&](std::size_t axis, std::int64_t at) { return at >= 0 && at < size[axis]; };
  const Window& across = windows[2];
  const std::int64_t line = across.size * channels;
  for (std::int64_t clip = clips.begin; clip < clips.end; ++clip) {
    for (std::int64_t i = 0; i < windows[0].size; ++i) {
      const std::int64_t frame = windows[0].first + i * windows[0].step;
      for (std::int64_t j = 0; j < windows[1].size; ++j, result += line) {
        const std::int64_t row = windows[1].first + j * windows[1].step;
        if (!inside(0, frame) || !inside(1, row)) {
          std::fill_n(result, line, outside);
          continue;
        }
        const std::int64_t from = ((clip * size[0] + frame) * size[1] + row) * size[2];
        std::int64_t k = 0;
        for (; k < across.size && across.first + k * across.step < 0; ++k) {
          std::fill_n(result + k * channels, channels, outside);
        }
        if (across.step == 1) {
          const std::int64_t count = std::min(across.size, size[2] - across.first) - k;
          if (count > 0) {
            write(result + k * channels, from + across.first + k, count);
            k += count;
          }
        } else {
          for (; k < across.size && inside(2, across.first + k * across.step); ++k) {
            write(result + k * channels, from + across.first + k * across.step, std::int64_t{1});
          }
        }
        std::fill_n(result + k * channels, (across.size - k) * channels, outside);
      }
    }
  }
}

}  // namespace fastpose
