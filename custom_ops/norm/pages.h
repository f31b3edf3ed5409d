// Large pages under new buffers. What malloc maps anew for each call, and that is all above 32 MiB, costs a fault for
// each page that is written: with pages of 4 KiB more than the work itself.
#pragma once
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tfopt {

#if defined(__linux__)

inline void prefer_large_pages(void* buffer, int64_t bytes) {
  constexpr int64_t kMapped = int64_t{32} << 20, kPage = int64_t{2} << 20;
  if (bytes < kMapped) return;
  const intptr_t first = reinterpret_cast<intptr_t>(buffer);
  const intptr_t begin = (first + kPage - 1) / kPage * kPage, end = (first + bytes) / kPage * kPage;
  // A hint: where it is refused nothing is lost.
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

#else

inline void prefer_large_pages(void*, int64_t) {}

#endif

}  // namespace tfopt
