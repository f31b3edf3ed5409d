// Shares the work of a plan among threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "custom_ops/apply/apply.h"

namespace tfopt {

// Blocks of a plan that threads take one after the other. A thread that comes when all are taken touches
// nothing but this, so that nobody waits for helpers that a busy pool has not started.
class Shared {
 public:
  explicit Shared(const Plan& plan) : plan_(plan), size_(plan.size()), open_(blocks()) {}

  int64_t blocks() const { return (size_ + kBlock - 1) / kBlock; }

  // Works until no block is left to take.
  void help() {
    for (int64_t begin; (begin = next_.fetch_add(kBlock)) < size_;) {
      plan_.run(begin, std::min(begin + kBlock, size_));
      close_one();
    }
  }

  // Returns when every block is done.
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return open_ == 0; });
  }

 private:
  // Long enough to hide the hand-over, short enough to share evenly.
  static constexpr int64_t kBlock = 1 << 16;

  void close_one() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--open_ == 0) done_.notify_all();
  }

  const Plan& plan_;
  const int64_t size_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;
  std::condition_variable done_;
  int64_t open_;
};

// Runs a plan on this thread and on those of `pool`, an object with num_threads() and Schedule(function).
template <class Pool>
void run_shared(const Plan& plan, Pool& pool) {
  const auto work = std::make_shared<Shared>(plan);
  const int64_t helpers = std::min<int64_t>(work->blocks(), pool.num_threads()) - 1;
  for (int64_t k = 0; k < helpers; ++k) pool.Schedule([work] { work->help(); });
  work->help();
  work->wait();
}

}  // namespace tfopt
