// Loops beside OpenMP in a process that uses it, and in its children.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "base/thread_pool.hpp"
#include "check.hpp"

namespace {

using namespace fastpose;

void use_openmp() {
  std::atomic<int> sum = 0;
#pragma omp parallel for num_threads(3)
  for (int i = 0; i < 10; ++i) sum += i;
  CHECK(sum == 45);
}

bool covers_every_index_once() {
  std::atomic<std::int64_t> sum = 0;
  parallel_for_beside_openmp(100, 3, 7, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) sum += i;
  });
  return sum == 100 * 99 / 2;
}

// A child has none of its parent's OpenMP threads, for which it must not wait.
void test_child() {
  const pid_t child = fork();
  if (child == 0) {
    alarm(10);
    _exit(covers_every_index_once() ? 0 : 1);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

}  // namespace

int main() {
  use_openmp();
  test_child();  // before any loop of ours
  CHECK(covers_every_index_once());
  test_child();
}
