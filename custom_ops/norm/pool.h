// Memory for large results, kept when it is freed and handed out again. malloc gives large buffers back to the system
// and maps them anew in every step, and then the first write to each page costs a fault: as much as the work itself.
#pragma once
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace tfopt {

// Blocks on large pages. Those in use and those kept are together never more than were once in use at the same time;
// one that is not wanted for long goes back to the system. Safe to use from several threads.
class Pool {
 public:
  // Smaller buffers are better left to malloc.
  static constexpr int64_t kLeast = int64_t{2} << 20;
  // Blocks handed out while one is kept, before it goes back to the system: more than a step of a deep net takes.
  static constexpr int64_t kPatience = 4096;

  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  // At least so many bytes, whatever they hold; null where the system has none.
  void* take(int64_t bytes);
  void give(void* memory);

  struct Sizes {
    int64_t used, kept;
  };
  Sizes sizes() const;

 private:
  struct Block {
    void* memory;
    int64_t bytes, given;
  };

  Block find(int64_t bytes);
  void release_beyond(int64_t most);
  void release_oldest();

  mutable std::mutex mutex_;
  std::unordered_map<void*, int64_t> used_;
  std::vector<Block> kept_;  // in the order in which they were given
  int64_t used_bytes_ = 0, kept_bytes_ = 0, most_ = 0, taken_ = 0;
};

}  // namespace tfopt
