// Tensors of a launch cut into chunks, one to a block; and which part of which tensor is a block's.
#pragma once
#include <stdint.h>

#include "custom_ops/apply/cuda/memory.h"

namespace tfopt {
namespace cuda {

// Elements that a block works on: a few accesses of each thread, to hide finding the tensor behind them.
constexpr int64_t kChunk = 4096;
constexpr uint32_t kMostChunks = 1u << 30;  // per launch; a grid has a little more

constexpr int64_t chunks_of(int64_t size) { return (size + kChunk - 1) / kChunk; }

// Up to kMost tensors, with the chunks numbered through.
template <int kMost>
struct Chunks {
  int count = 0;
  uint32_t first[kMost + 1] = {0};  // chunk of each tensor; then the number of chunks

  bool has_room(int64_t size) const { return count < kMost && chunks_of(size) <= kMostChunks - total(); }

  void add(int64_t size) {
    first[count + 1] = total() + static_cast<uint32_t>(chunks_of(size));
    ++count;
  }

  uint32_t total() const { return first[count]; }
};

// The tensor that a chunk belongs to: the last one that does not begin behind it.
template <int kMost>
TFOPT_ELEMENT int tensor_of(const Chunks<kMost>& chunks, uint32_t chunk) {
  int low = 0, high = chunks.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (chunks.first[middle] <= chunk)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// Elements [begin, end) of a tensor; up to `wide` in accesses of several elements, then one by one.
struct Range {
  int64_t begin, wide, end;
};

template <int kWidth>
TFOPT_ELEMENT Range range_of(uint32_t chunk, int64_t size, bool aligned) {
  static_assert(kChunk % kWidth == 0, "a chunk of an aligned tensor begins aligned");
  const int64_t begin = chunk * kChunk, left = size - begin;
  const int64_t n = left < kChunk ? left : kChunk;
  return {begin, aligned ? begin + n / kWidth * kWidth : begin, begin + n};
}

TFOPT_ELEMENT bool is_aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

}  // namespace cuda
}  // namespace tfopt
