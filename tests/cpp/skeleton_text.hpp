// Valid `.skeleton` text for tests.
#pragma once

#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

namespace fastpose::testing {

struct TextOptions {
  int frames = 3;
  std::vector<std::uint64_t> body_ids = {72057594037931101U};
  int last_gap = 0;  // frames at the end that only the first body is in
  const char* line_end = "\n";
};

inline std::string skeleton_text(const TextOptions& options, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> metres(-1.5, 4.5);
  std::uniform_real_distribution<double> pixels(0, 1920);
  std::string text = std::to_string(options.frames) + options.line_end;
  for (int frame = 0; frame < options.frames; ++frame) {
    const std::size_t bodies = frame >= options.frames - options.last_gap ? 1 : options.body_ids.size();
    text += std::to_string(bodies) + options.line_end;
    for (std::size_t i = 0; i < bodies; ++i) {
      text += std::to_string(options.body_ids[i]) + " 0 1 1 1 1 0 -0.1159187 0.1413209 2" + options.line_end;
      text += std::string("25") + options.line_end;
      for (int joint = 0; joint < 25; ++joint) {
        for (int field = 0; field < 11; ++field) {
          char number[32];
          std::snprintf(number, sizeof(number), "%.7g ",
                        field >= 3 && field < 7 ? pixels(random) : metres(random));
          text += number;
        }
        text += std::to_string(random() % 3) + options.line_end;
      }
    }
  }
  return text;
}

}  // namespace fastpose::testing
