// A pool of memory without TensorFlow, for builds with sanitizers. Exit code 1 names the first check that fails.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "custom_ops/norm/pool.h"

namespace {

using tfopt::Pool;

constexpr int64_t kMiB = int64_t{1} << 20, kPage = 2 * kMiB;

#define CHECK(condition) \
  if (!(condition)) std::printf("line %d: %s\n", __LINE__, #condition), std::exit(1)

bool holds(const Pool& pool, int64_t used, int64_t kept) {
  return pool.sizes().used == used && pool.sizes().kept == kept;
}

void hands_out_again_what_was_given() {
  Pool pool;
  void* const first = pool.take(5 * kMiB);
  CHECK(reinterpret_cast<intptr_t>(first) % kPage == 0);
  std::memset(first, 1, 6 * kMiB);  // in whole pages
  CHECK(holds(pool, 6 * kMiB, 0));
  void* const second = pool.take(5 * kMiB);
  CHECK(second != first);
  pool.give(first);
  pool.give(second);
  CHECK(holds(pool, 0, 12 * kMiB));
  CHECK(pool.take(6 * kMiB) == second);  // the last one given
  CHECK(pool.take(5 * kMiB) == first);
  CHECK(holds(pool, 12 * kMiB, 0));
}

void takes_what_fits_without_waste() {
  Pool pool;
  void *const large = pool.take(40 * kMiB), *const middle = pool.take(24 * kMiB), *const small = pool.take(20 * kMiB);
  for (void* block : {middle, small, large}) pool.give(block);
  CHECK(pool.take(20 * kMiB) == small);
  CHECK(pool.take(20 * kMiB) == middle);
  void* const third = pool.take(20 * kMiB);  // 40 would waste half
  CHECK(third != large);
  // Together no more than the 84 that were in use at first.
  CHECK(pool.sizes().used + pool.sizes().kept <= 84 * kMiB);
}

void holds_no_more_than_was_used_at_once() {
  Pool pool;
  for (int64_t size = 1; size < 40; ++size) pool.give(pool.take(size * kPage));
  CHECK(holds(pool, 0, 39 * kPage));
  void* const one = pool.take(kPage);
  CHECK(holds(pool, kPage, 0));
  pool.give(one);
  CHECK(pool.sizes().kept <= 39 * kPage);
}

void keeps_what_was_used_at_once() {
  Pool pool;
  void *const first = pool.take(10 * kPage), *const second = pool.take(10 * kPage);
  pool.give(first);
  pool.give(second);
  pool.take(4 * kPage);
  pool.take(4 * kPage);
  CHECK(holds(pool, 8 * kPage, 10 * kPage));
}

void gives_back_what_nobody_wants_for_long() {
  Pool pool;
  void *const wanted = pool.take(kPage), *const idle = pool.take(10 * kPage);
  pool.give(idle);
  pool.give(wanted);
  for (int64_t i = 0; i < Pool::kPatience; ++i) pool.give(pool.take(kPage));
  CHECK(holds(pool, 0, 11 * kPage));
  pool.give(pool.take(kPage));
  CHECK(holds(pool, 0, kPage));
}

void gives_back_nothing_twice() {
  Pool pool;
  void* const block = pool.take(1);
  pool.give(block);
  pool.give(block);
  pool.give(nullptr);
  CHECK(holds(pool, 0, kPage));
}

void has_no_more_than_the_system() {
  Pool pool;
  CHECK(pool.take(int64_t{1} << 60) == nullptr);
  CHECK(holds(pool, 0, 0));
  void* const block = pool.take(kPage);
  CHECK(block != nullptr);
  pool.give(block);
  pool.give(pool.take(4 * kPage));
  CHECK(holds(pool, 0, 4 * kPage));
}

// Each thread finds in its blocks what it wrote there.
void serves_threads() {
  Pool pool;
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&pool, k] {
      std::vector<char*> mine;
      for (int i = 0; i < 300; ++i) {
        mine.push_back(static_cast<char*>(pool.take((1 + (i + k) % 3) * kPage)));
        std::memset(mine.back(), k, 64);
        if (mine.size() < 4) continue;
        for (char* block : mine) {
          CHECK(block[0] == k && block[63] == k);
          pool.give(block);
        }
        mine.clear();
      }
      for (char* block : mine) pool.give(block);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(pool.sizes().used == 0);
}

}  // namespace

int main() {
  hands_out_again_what_was_given();
  takes_what_fits_without_waste();
  holds_no_more_than_was_used_at_once();
  keeps_what_was_used_at_once();
  gives_back_what_nobody_wants_for_long();
  gives_back_nothing_twice();
  has_no_more_than_the_system();
  serves_threads();
}
