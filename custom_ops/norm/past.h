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

constexpr int64_t kNarrow = sizeof(__m128i);

TFOPT_ELEMENT void store_narrow(void* to, const void* from) {
  _mm_stream_si128(static_cast<__m128i*>(to), _mm_loadu_si128(static_cast<const __m128i*>(from)));
}

// A line in fewer stores is sooner on its way.
#if defined(__AVX512F__)
constexpr int64_t kWide = sizeof(__m512i);
TFOPT_ELEMENT void store_wide(void* to, const void* from) {
  _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
}
#elif defined(__AVX__)
constexpr int64_t kWide = sizeof(__m256i);
TFOPT_ELEMENT void store_wide(void* to, const void* from) {
  _mm256_stream_si256(static_cast<__m256i*>(to), _mm256_loadu_si256(static_cast<const __m256i*>(from)));
}
#else
constexpr int64_t kWide = kNarrow;
TFOPT_ELEMENT void store_wide(void* to, const void* from) { store_narrow(to, from); }
#endif

// Bytes up to the next multiple of `width`, of `bytes` at most.
TFOPT_ELEMENT int64_t bytes_before(const char* place, int64_t width, int64_t bytes) {
  const int64_t before = -reinterpret_cast<intptr_t>(place) & (width - 1);
  return before < bytes ? before : bytes;
}

// n elements of `from` to `to`; other threads see them after `finish_past`.
template <class T>
TFOPT_ELEMENT void write_past(const T* from, T* to, int64_t n) {
  const int64_t bytes = n * sizeof(T);
  const char* source = reinterpret_cast<const char*>(from);
  char* target = reinterpret_cast<char*>(to);
  int64_t i = bytes_before(target, kNarrow, bytes);
  if (i) memcpy(target, source, i);
  const int64_t wide = i + bytes_before(target + i, kWide, bytes - i);
  for (; i + kNarrow <= wide; i += kNarrow) store_narrow(target + i, source + i);
  for (; i + kWide <= bytes; i += kWide) store_wide(target + i, source + i);
  for (; i + kNarrow <= bytes; i += kNarrow) store_narrow(target + i, source + i);
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
