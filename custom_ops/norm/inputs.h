// How the loops read tensors and write one.
#pragma once
#include <stdint.h>
#include <string.h>

#include "custom_ops/apply/half.h"
#include "custom_ops/rules/element.h"

namespace tfopt {

// Elements that are read and written at once. Two of bfloat16 share a word, and each is half of a float: a shift and a
// mask take them out of the word and put them back, with nothing to move from lane to lane.
template <class T>
constexpr int kTogether = 1;

// Elements that an array holds.
template <int kCount>
TFOPT_ELEMENT constexpr int count_of(const float (&)[kCount]) {
  return kCount;
}

template <class T>
TFOPT_ELEMENT void read(const T* from, float (&to)[1]) {
  to[0] = widen(*from);
}

template <class T>
TFOPT_ELEMENT void write(const float (&from)[1], T* to) {
  narrow(from[0], *to);
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

template <>
constexpr int kTogether<Bfloat16> = 2;

TFOPT_ELEMENT void read(const Bfloat16* from, float (&to)[2]) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  to[0] = as_float(word << 16);
  to[1] = as_float(word & 0xffff0000u);
}

TFOPT_ELEMENT void write(const float (&from)[2], Bfloat16* to) {
  const uint32_t word = rounded_to_bfloat16(from[0]) >> 16 | (rounded_to_bfloat16(from[1]) & 0xffff0000u);
  memcpy(to, &word, sizeof word);
}

#endif

// Tensors that are read side by side.
template <class T, int kTensors>
struct Inputs {
  const T* tensors[kTensors];

  // Asks for as many elements as the n from element i on take, a while behind them. The machine looks ahead by itself,
  // but not far enough to keep memory busy while a core computes, and not from page to page.
  __attribute__((always_inline)) void fetch(int64_t i, int64_t n) const {
    constexpr int64_t kAhead = 2048, kLine = 64;
    for (const T* from : tensors) {
      const char* ahead = reinterpret_cast<const char*>(from + i) + kAhead;
      for (int64_t k = 0; k < n * static_cast<int64_t>(sizeof(T)); k += kLine) __builtin_prefetch(ahead + k);
    }
  }
};

template <class T, class... Others>
TFOPT_ELEMENT Inputs<T, 1 + sizeof...(Others)> inputs(const T* first, const Others*... others) {
  return {{first, others...}};
}

}  // namespace tfopt
