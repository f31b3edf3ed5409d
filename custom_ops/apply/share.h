// Shares work among threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

namespace tfopt {

// Blocks of a range that threads take one after the other. A thread that comes when all are taken touches
// nothing but this, so that nobody waits for helpers that a busy pool has not started.
class Shared {
 public:
  using Run = std::function<void(int64_t begin, int64_t end)>;

  Shared(int64_t size, int64_t block, Run run) : size_(size), block_(block), run_(run), open_(blocks()) {}

  int64_t blocks() const { return (size_ + block_ - 1) / block_; }

  // Works until no block is left to take.
  void help() {
    for (int64_t begin; (begin = next_.fetch_add(block_)) < size_;) {
      run_(begin, std::min(begin + block_, size_));
      close_one();
    }
  }

  // Returns when every block is done.
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return open_ == 0; });
  }

 private:
  void close_one() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--open_ == 0) done_.notify_all();
  }

  const int64_t size_, block_;
  const Run run_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;
  std::condition_variable done_;
  int64_t open_;
};

// Runs blocks of [0, size) on this thread and on those of `pool`, an object with num_threads() and
// Schedule(function); ranges that do not overlap may run at the same time.
template <class Pool>
void run_shared(Pool& pool, int64_t size, int64_t block, Shared::Run run) {
  const auto work = std::make_shared<Shared>(size, block, run);
  const int64_t helpers = std::min<int64_t>(work->blocks(), pool.num_threads()) - 1;
  for (int64_t k = 0; k < helpers; ++k) pool.Schedule([work] { work->help(); });
  work->help();
  work->wait();
}

}  // namespace tfopt
