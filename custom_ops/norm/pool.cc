#include "custom_ops/norm/pool.h"

#include <algorithm>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tfopt {
namespace {

constexpr int64_t kPage = int64_t{2} << 20;

int64_t round_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

#if defined(__linux__)

void* map(int64_t bytes) {
  char* const made = static_cast<char*>(
      mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (made == MAP_FAILED) return nullptr;
  const int64_t before = round_up(reinterpret_cast<intptr_t>(made), kPage) - reinterpret_cast<intptr_t>(made);
  if (before) munmap(made, before);
  munmap(made + before + bytes, kPage - before);
  // A hint: where it is refused nothing is lost.
  madvise(made + before, bytes, MADV_HUGEPAGE);
  return made + before;
}

void unmap(void* memory, int64_t bytes) { munmap(memory, bytes); }

#else

void* map(int64_t bytes) { return std::aligned_alloc(kPage, bytes); }
void unmap(void* memory, int64_t) { std::free(memory); }

#endif

}  // namespace

Pool::~Pool() { release_beyond(0); }

void* Pool::take(int64_t bytes) {
  bytes = round_up(std::max<int64_t>(bytes, 1), kPage);
  const std::lock_guard<std::mutex> lock(mutex_);
  ++taken_;
  Block block = find(bytes);
  if (!block.memory) {
    release_beyond(std::max<int64_t>(most_ - used_bytes_ - bytes, 0));
    block = {map(bytes), bytes, 0};
    if (!block.memory) return nullptr;
  }
  used_.emplace(block.memory, block.bytes);
  used_bytes_ += block.bytes;
  most_ = std::max(most_, used_bytes_);
  while (!kept_.empty() && kept_.front().given + kPatience < taken_) release_oldest();
  return block.memory;
}

void Pool::give(void* memory) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = used_.find(memory);
  if (found == used_.end()) return;
  kept_.push_back({memory, found->second, taken_});
  used_bytes_ -= found->second;
  kept_bytes_ += found->second;
  used_.erase(found);
}

Pool::Sizes Pool::sizes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {used_bytes_, kept_bytes_};
}

// The smallest that fits without much waste, of these the last one given, which is warm; or none.
Pool::Block Pool::find(int64_t bytes) {
  auto best = kept_.end();
  for (auto block = kept_.begin(); block != kept_.end(); ++block)
    if (block->bytes >= bytes && block->bytes <= bytes + bytes / 4 && (best == kept_.end() || block->bytes <= best->bytes))
      best = block;
  if (best == kept_.end()) return {nullptr, 0, 0};
  const Block found = *best;
  kept_bytes_ -= found.bytes;
  kept_.erase(best);
  return found;
}

void Pool::release_beyond(int64_t most) {
  while (kept_bytes_ > most) release_oldest();
}

void Pool::release_oldest() {
  unmap(kept_.front().memory, kept_.front().bytes);
  kept_bytes_ -= kept_.front().bytes;
  kept_.erase(kept_.begin());
}

}  // namespace tfopt
