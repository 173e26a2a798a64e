#include "base/thread_pool.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace fastpose {
namespace {

struct Job {
  const std::function<void(std::int64_t, std::int64_t)>* body;
  std::int64_t count;
  std::int64_t grain;
  std::atomic<std::int64_t> next{0};
  std::int64_t finished = 0;  // guarded by mutex
  std::mutex mutex;
  std::condition_variable done;

  // Takes ranges until none is left. A worker that comes late finds none and never touches `body`.
  void work() {
    std::int64_t mine = 0;
    for (;;) {
      const std::int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) break;
      const std::int64_t end = std::min(begin + grain, count);
      (*body)(begin, end);
      mine += end - begin;
    }
    if (mine == 0) return;
    const std::lock_guard<std::mutex> lock(mutex);
    finished += mine;
    if (finished == count) done.notify_all();
  }
};

class ThreadPool {
 public:
  void offer(const std::shared_ptr<Job>& job, int helpers) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (workers_ < helpers && add_worker()) ++workers_;
      helpers = std::min(helpers, workers_);  // the caller does what they do not
      for (int i = 0; i < helpers; ++i) queue_.push_back(job);
    }
    if (helpers == 1) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
  }

  std::mutex& mutex() { return mutex_; }

 private:
  // False: the system has no thread to give.
  bool add_worker() {
    try {
      std::thread([this] { serve(); }).detach();
      return true;
    } catch (const std::system_error&) {
      return false;
    }
  }

  void serve() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return !queue_.empty(); });
        job = std::move(queue_.front());
        queue_.pop_front();
      }
      job->work();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;
  int workers_ = 0;
};

// Never destroyed: detached workers wait in it until the process ends.
ThreadPool* pool = nullptr;

// fork copies the caller's thread alone, so a child starts with a pool of its own.
void before_fork() {
  pool->mutex().lock();
}
void after_fork_in_parent() {
  pool->mutex().unlock();
}
void after_fork_in_child() {
  pool = new ThreadPool;
}

ThreadPool& global_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new ThreadPool;
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  });
  return *pool;
}

// How code compiled for OpenMP enters a parallel region, in the GNU, LLVM and Intel libraries alike.
using EnterParallel = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

std::atomic<bool> forked{false};
// From when this is loaded, for others may have used OpenMP before a fork.
[[maybe_unused]] const int watching_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// Null where the process has no OpenMP, or has its parent's, whose threads do not outlive a fork.
EnterParallel openmp_parallel() {
  static const auto enter = reinterpret_cast<EnterParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return forked ? nullptr : enter;
}

}  // namespace

int hardware_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

namespace {

struct Split {
  std::int64_t grain;
  int threads;  // that there is work for
};

Split split_ranges(std::int64_t count, int threads, std::int64_t grain) {
  if (threads <= 0) threads = hardware_threads();
  grain = std::max<std::int64_t>(1, grain);
  const std::int64_t ranges = (count + grain - 1) / grain;
  return {grain, static_cast<int>(std::min<std::int64_t>(threads, ranges))};
}

void run_alone(std::int64_t count, std::int64_t grain,
               const std::function<void(std::int64_t, std::int64_t)>& body) {
  for (std::int64_t begin = 0; begin < count; begin += grain) body(begin, std::min(begin + grain, count));
}

}  // namespace

void parallel_for(std::int64_t count, int threads, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (count <= 0) return;
  const Split split = split_ranges(count, threads, grain);
  if (split.threads == 1) return run_alone(count, split.grain, body);
  auto job = std::make_shared<Job>();
  job->body = &body;
  job->count = count;
  job->grain = split.grain;
  global_pool().offer(job, split.threads - 1);
  job->work();
  std::unique_lock<std::mutex> lock(job->mutex);
  job->done.wait(lock, [&] { return job->finished == job->count; });
}

void parallel_for_beside_openmp(std::int64_t count, int threads, std::int64_t grain,
                                const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (count <= 0) return;
  const EnterParallel enter = openmp_parallel();
  if (enter == nullptr) return parallel_for(count, threads, grain, body);
  const Split split = split_ranges(count, threads, grain);
  if (split.threads == 1) return run_alone(count, split.grain, body);
  Job job;
  job.body = &body;
  job.count = count;
  job.grain = split.grain;
  enter([](void* data) { static_cast<Job*>(data)->work(); }, &job, static_cast<unsigned>(split.threads), 0);
}

}  // namespace fastpose
