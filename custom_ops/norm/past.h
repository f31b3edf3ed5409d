// Writes that go past the caches: a line that is written whole need not be read first.
#pragma once
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "custom_ops/rules/element.h"

namespace tfopt {

#if defined(__SSE2__)

// n elements of `from` to `to`; other threads see them after `finish_past`.
template <class T>
TFOPT_ELEMENT void write_past(const T* from, T* to, int64_t n) {
  constexpr int64_t kWidth = sizeof(__m128i);
  int64_t bytes = n * sizeof(T);
  const char* source = reinterpret_cast<const char*>(from);
  char* target = reinterpret_cast<char*>(to);
  const int64_t odd = -reinterpret_cast<intptr_t>(target) & (kWidth - 1);
  const int64_t head = odd < bytes ? odd : bytes;
  if (head) memcpy(target, source, head);
  int64_t i = head;
  for (; i + kWidth <= bytes; i += kWidth)
    _mm_stream_si128(reinterpret_cast<__m128i*>(target + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
  if (i < bytes) memcpy(target + i, source + i, bytes - i);
}

TFOPT_ELEMENT void finish_past() { _mm_sfence(); }

#else

template <class T>
TFOPT_ELEMENT void write_past(const T* from, T* to, int64_t n) {
  memcpy(to, from, n * sizeof(T));
}

TFOPT_ELEMENT void finish_past() {}

#endif

}  // namespace tfopt
