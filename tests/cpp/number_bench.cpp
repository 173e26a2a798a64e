// Rates over `.skeleton` files in memory, one thread: number_bench FILE ...
// A bare loop of std::from_chars keeps no number and checks nothing; the parser fills the final arrays.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "decode/number_reader.hpp"
#include "decode/skeleton_parser.hpp"

namespace {

double bare_from_chars(const std::string& text) {
  double sum = 0;
  const char* end = text.data() + text.size();
  for (const char* p = text.data(); p != end;) {
    float value;
    const auto [stop, error] = std::from_chars(p, end, value);
    if (error == std::errc{}) sum += value;
    p = std::max(stop, p + 1);
    while (p != end && (*p == ' ' || *p == '\n' || *p == '\r')) ++p;
  }
  return sum;
}

double parse(const std::string& text) {
  fastpose::Skeleton skeleton;
  const fastpose::ParseError error = fastpose::parse_skeleton(text.data(), text.size(), skeleton);
  if (error.code != fastpose::ParseErrorCode::kNone) std::puts(error.message().c_str());
  return skeleton.bodies.empty() ? 0 : skeleton.bodies[0].joints[0];
}

// The median rate over rounds of at least 50 ms, in MB/s.
double rate(const std::vector<std::string>& texts, const std::function<double(const std::string&)>& work) {
  std::vector<double> rates;
  volatile double sink = 0;
  for (int round = 0; round < 9; ++round) {
    const auto start = std::chrono::steady_clock::now();
    double seconds = 0;
    double bytes = 0;
    while (seconds < 0.05) {
      for (const std::string& text : texts) {
        sink = sink + work(text);
        bytes += static_cast<double>(text.size());
      }
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    rates.push_back(bytes / seconds / 1e6);
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> texts;
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (texts.empty()) {
    std::puts("usage: number_bench FILE ...");
    return 2;
  }
  std::printf("bare std::from_chars %.0f MB/s, parse_skeleton %.0f MB/s\n", rate(texts, bare_from_chars),
              rate(texts, parse));
}
