// The C++ core without Python: number reader, parser, body selection, packing, thread pool.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/thread_pool.hpp"
#include "check.hpp"
#include "decode/body_selector.hpp"
#include "decode/clip_packer.hpp"
#include "decode/number_reader.hpp"
#include "decode/pickle_scan.hpp"
#include "decode/skeleton_parser.hpp"
#include "skeleton_text.hpp"

namespace {

using namespace fastpose;
using fastpose::testing::skeleton_text;

bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

void test_plain_numbers_agree_with_strtod() {
  std::mt19937_64 random(7);
  for (int i = 0; i < 300'000; ++i) {
    std::string token = random() % 2 == 0 ? "-" : "";
    for (std::size_t digits = random() % 9; digits > 0; --digits)
      token += static_cast<char>('0' + random() % 10);
    token += '.';
    for (std::size_t digits = random() % 10; digits > 0; --digits)
      token += static_cast<char>('0' + random() % 10);
    if (token.back() == '.' && (token.size() == 1 || token[token.size() - 2] == '-')) continue;
    const auto expected = static_cast<float>(std::strtod(token.c_str(), nullptr));
    const std::string text = token + ' ' + std::string(kPlainNumberWindow, '7');
    float value = 0;
    const char* after = read_plain_number(text.data(), value);
    if (after != nullptr) {
      CHECK(after == text.data() + token.size() + 1);
      CHECK(same_bits(value, expected));
    }
    CHECK(read_number(token.data(), token.data() + token.size(), value));
    CHECK(same_bits(value, expected));
  }
}

void test_plain_numbers_refuse_other_shapes() {
  for (const char* token : {"",     "-",          ".",           "1",     "-1",     "1.",    ".5",    "-.5",
                            "+1.5", "1..5",       "1.5.",        "--1.5", "1.5e3",  "nan",   "1.5\n", "1.5\t",
                            " 1.5", "12345678.5", "1.123456789", "1,5",   "\x80.5", "1.\xb5"}) {
    const std::string text = std::string(token) + ' ' + std::string(kPlainNumberWindow, ' ');
    float value = 0;
    CHECK(read_plain_number(text.data(), value) == nullptr);
  }
  float value = 0;
  for (const char* token :
       {"0.0", "-0.0", "1.5", "-7654321.5", "1234567.12345", "-1.12345678", "0.07659934"}) {
    const std::string text = std::string(token) + ' ' + std::string(kPlainNumberWindow, '.');
    CHECK(read_plain_number(text.data(), value) != nullptr);
    CHECK(same_bits(value, std::strtof(token, nullptr)));
  }
}

void test_parser_and_selection() {
  Skeleton skeleton;
  const std::string text = skeleton_text({.frames = 20, .body_ids = {5, 9}, .last_gap = 4}, 1);
  CHECK(parse_skeleton(text.data(), text.size(), skeleton).code == ParseErrorCode::kNone);
  CHECK(skeleton.num_frames == 20 && skeleton.bodies.size() == 2 && skeleton.lost_joints == 0);
  CHECK(skeleton.bodies[0].id == 5 && skeleton.bodies[0].frames.size() == 20);
  CHECK(skeleton.bodies[1].id == 9 && skeleton.bodies[1].frames.size() == 16);
  const BodySelection selection = select_bodies(tracks_of(skeleton), skeleton.num_frames, 2);
  CHECK(selection.frames.size() == 20);
  CHECK(selection.num_persons == 1 || selection.num_persons == 2);

  const ParseError error = parse_skeleton(text.data(), text.size() / 2, skeleton);
  CHECK(error.code != ParseErrorCode::kNone && error.line > 100 && skeleton.bodies.empty());
  CHECK(parse_skeleton("9", 1, skeleton).code == ParseErrorCode::kCountExceedsFile);
  CHECK(parse_skeleton(nullptr, 0, skeleton).code == ParseErrorCode::kBadCount);
  CHECK(parse_skeleton(nullptr, 0, skeleton).message() ==
        "line 1, column 1: expected the number of frames (a whole number, 0 or more), found the end of the "
        "file");
}

void test_pickles_are_scanned() {
  using namespace std::string_view_literals;
  constexpr auto pickle = "\x80\x02}q\0(X\1\0\0\0aK\7X\1\0\0\0bG????\0\0\0\0u."sv;
  CHECK(scan_pickle(pickle.data(), pickle.size()).code == PickleErrorCode::kNone);
  for (std::size_t size = 0; size < pickle.size(); ++size) {
    const std::vector<char> cut(pickle.begin(), pickle.begin() + static_cast<std::ptrdiff_t>(size));
    const PickleError error = scan_pickle(cut.data(), size);
    CHECK(error.code == PickleErrorCode::kCut || error.code == PickleErrorCode::kNoStop);
    CHECK(error.position <= static_cast<std::int64_t>(size));
  }
  CHECK(scan_pickle("\x80\x02Nr\xff\xff\xff\x0f.", 9).message() ==
        "byte 3: its memo index is no whole number from 0 to 3");
}

void test_packing() {
  char folder[] = "/tmp/fastpose_core_tests_XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  std::vector<std::string> paths;
  for (unsigned i = 0; i < 9; ++i) {
    paths.push_back(std::string(folder) + "/" + std::to_string(i));
    std::ofstream(paths.back()) << skeleton_text({.frames = static_cast<int>(5 * i)}, i);
  }
  const PackedSkeletons one = pack_skeletons(paths, 2, 1);
  const PackedSkeletons many = pack_skeletons(paths, 2, 4);
  for (const std::string& path : paths) unlink(path.c_str());
  rmdir(folder);
  CHECK(one.keypoints == many.keypoints && one.scores == many.scores && one.errors == many.errors);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    CHECK(one.num_frames[i] == static_cast<int>(5 * i));
    CHECK(one.errors[i].empty() == (i > 0));
  }
}

void test_thread_pool_covers_every_index_once() {
  for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
    for (const int threads : {0, 1, 2, 8}) {
      for (const std::int64_t grain : {0, 1, 3, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        parallel_for(count, threads, grain, [&](std::int64_t begin, std::int64_t end) {
          CHECK(begin < end && end <= count && end - begin <= std::max<std::int64_t>(1, grain));
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        for (const auto& visit : visits) CHECK(visit == 1);
      }
    }
  }
}

constexpr std::int64_t kNestedSum = (20 * 19 / 2) * (50 * 49 / 2);

std::int64_t nested_sum() {
  std::atomic<std::int64_t> sum = 0;
  parallel_for(20, 4, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      parallel_for(50, 4, 7, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t j = first; j < last; ++j) sum += i * j;
      });
    }
  });
  return sum;
}

void test_thread_pool_nested_and_concurrent() {
  CHECK(nested_sum() == kNestedSum);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([] {
      for (int i = 0; i < 30; ++i) CHECK(nested_sum() == kNestedSum);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

void test_thread_pool_after_fork() {
  const pid_t child = fork();
  if (child == 0) _exit(nested_sum() == kNestedSum ? 0 : 1);
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

void test_thread_pool_where_no_thread_is_left() {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{1, 1};  // bytes of memory, so that no new thread has a stack
    CHECK(setrlimit(RLIMIT_AS, &none) == 0);
    std::atomic<std::int64_t> visits = 0;
    parallel_for(1000, 100, 1, [&](std::int64_t begin, std::int64_t end) { visits += end - begin; });
    _exit(visits == 1000 ? 0 : 1);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

}  // namespace

// core_tests [without_fork]
int main(int argc, char** argv) {
  test_plain_numbers_agree_with_strtod();
  test_plain_numbers_refuse_other_shapes();
  test_parser_and_selection();
  test_pickles_are_scanned();
  test_packing();
  test_thread_pool_covers_every_index_once();
  test_thread_pool_nested_and_concurrent();
  if (argc > 1 && std::string_view(argv[1]) == "without_fork") return 0;
  test_thread_pool_after_fork();
  test_thread_pool_where_no_thread_is_left();
}
