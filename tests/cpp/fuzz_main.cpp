// Runs the fuzz target without libFuzzer, on seeded mutations: fuzz_skeleton_seeded SECONDS SEED [CORPUS_FILE
// ...]
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "skeleton_text.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::array<const char*, 24> kTokens = {"0",
                                                 "1",
                                                 "2",
                                                 "25",
                                                 "24",
                                                 "-1",
                                                 "4294967297",
                                                 "18446744073709551616",
                                                 "nan",
                                                 "-inf",
                                                 "1e39",
                                                 "7.29689E-05",
                                                 "1e-400",
                                                 "1e999999999999",
                                                 "-",
                                                 ".",
                                                 " ",
                                                 "\n",
                                                 "\r\n",
                                                 "\t",
                                                 "0.1234567890123456789",
                                                 "25.0",
                                                 "99999999.99999999",
                                                 "-0.5 "};

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::string mutated(const std::vector<std::string>& corpus) {
    std::string text = corpus[below(corpus.size())];
    for (std::size_t edits = 1 + below(4); edits > 0; --edits) edit(text, corpus);
    return text;
  }

 private:
  void edit(std::string& text, const std::vector<std::string>& corpus) {
    const std::size_t place = below(text.size() + 1);
    const std::size_t length = std::min(below(below(8) == 0 ? 2000 : 12), text.size() - place);
    switch (below(7)) {
      case 0:
        text.erase(place, length);
        break;
      case 1:
        text.insert(place, text.substr(below(text.size() + 1), length));
        break;
      case 2:
        text.replace(place, length, kTokens[below(kTokens.size())]);
        break;
      case 3:
        if (place < text.size()) text[place] = static_cast<char>(below(256));
        break;
      case 4:
        text.resize(place);
        break;
      case 5:
        replace_token(text, place);
        break;
      default:
        const std::string& other = corpus[below(corpus.size())];
        text.replace(place, std::string::npos, other, below(other.size() + 1), std::string::npos);
    }
  }

  // A whole token, so that the file often stays valid up to and beyond it.
  void replace_token(std::string& text, std::size_t place) {
    const std::size_t first = text.find_last_of(" \n", place) + 1;  // npos + 1 is 0
    const std::size_t last = std::min(text.find_first_of(" \r\n", first), text.size());
    text.replace(first, last - first, kTokens[below(kTokens.size())]);
  }

  std::size_t below(std::size_t bound) { return random_() % bound; }

  std::mt19937_64 random_;
};

std::vector<std::string> own_corpus() {
  using fastpose::testing::skeleton_text;
  return {"0\n", "2\n0\n0\n", skeleton_text({.frames = 1}, 1),
          skeleton_text({.frames = 4, .line_end = "\r\n"}, 2),
          skeleton_text({.frames = 14, .body_ids = {1, 2, 3}, .last_gap = 2}, 3)};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: " << argv[0] << " SECONDS SEED [CORPUS_FILE ...]\n";
    return 2;
  }
  std::vector<std::string> corpus;
  for (int i = 3; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) corpus = own_corpus();

  const auto stop = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(argv[1]));
  Mutator mutator(std::strtoull(argv[2], nullptr, 10));
  const auto run = [](const std::string& text) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  for (const std::string& text : corpus) run(text);
  std::int64_t runs = 0;
  for (; std::chrono::steady_clock::now() < stop; ++runs) run(mutator.mutated(corpus));
  std::cout << runs << " mutated files\n";
}
