// Products and sums of vectors, in double. The lanes that a product is summed in are the same on every
// instruction set. Compiled once for each, as kernels.cc.
#include "custom_ops/apply/stretches.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "custom_ops/rules/element.h"

namespace tfopt {
namespace TFOPT_ISA {
namespace {

constexpr int kLanes = 4;   // doubles of a register of AVX2
constexpr int kAtOnce = 2;  // products of each row
constexpr int64_t kLineBytes = 64;  // of the caches
constexpr int64_t kAhead = 1 << 10;  // elements of a row: a stretch

typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double))));

template <class A>
struct Packed {
  typedef A Values __attribute__((vector_size(kLanes * sizeof(A)), aligned(sizeof(A)), may_alias));
};

template <class A>
TFOPT_ELEMENT void load(const A* from, Lanes& to) {
  to = __builtin_convertvector(*reinterpret_cast<const typename Packed<A>::Values*>(from), Lanes);
}

#if defined(__AVX__)
// One instruction, of which g++ makes five.
TFOPT_ELEMENT void load(const float* from, Lanes& to) { to = _mm256_cvtps_pd(_mm_loadu_ps(from)); }
#endif

// The next stretch of a row is asked for while this one is read: its neighbours in time are other rows.
template <class A>
TFOPT_ELEMENT void fetch(const A* from) {
  __builtin_prefetch(from, 0, 2);
}

// Adds to `sums` what kLanes elements of some rows make with as many of each vector.
template <class A, int kRows, int kCount>
TFOPT_ELEMENT void add_lanes(const A* const* rows, const double* const* vectors, int64_t i,
                             Lanes (*sums)[kCount]) {
  Lanes others[kCount];
  for (int k = 0; k < kCount; ++k) load(vectors[k] + i, others[k]);
  for (int r = 0; r < kRows; ++r) {
    Lanes x;
    load(rows[r] + i, x);
    for (int k = 0; k < kCount; ++k) sums[r][k] += x * others[k];
  }
}

// The same for fewer than kLanes elements.
template <class A, int kRows, int kCount>
TFOPT_ELEMENT void add_rest(const A* const* rows, const double* const* vectors, int64_t first, int64_t n,
                            Lanes (*sums)[kCount]) {
  A row[kRows][kLanes] = {};
  double vector[kCount][kLanes] = {};
  const A* of_rows[kRows];
  const double* of_vectors[kCount];
  for (int r = 0; r < kRows; ++r) {
    for (int64_t i = first; i < n; ++i) row[r][i - first] = rows[r][i];
    of_rows[r] = row[r];
  }
  for (int k = 0; k < kCount; ++k) {
    for (int64_t i = first; i < n; ++i) vector[k][i - first] = vectors[k][i];
    of_vectors[k] = vector[k];
  }
  add_lanes<A, kRows, kCount>(of_rows, of_vectors, 0, sums);
}

// `of_row` is how many sums each row has in `to`.
template <class A, int kRows, int kCount>
TFOPT_ELEMENT void add_some(const void* const* rows, const double* vectors, int64_t stride, int64_t n, double* to,
                            int of_row) {
  constexpr int64_t kLine = kLineBytes / sizeof(A);
  Lanes sums[kRows][kCount] = {};
  const A* from[kRows];
  const double* others[kCount];
  for (int r = 0; r < kRows; ++r) from[r] = static_cast<const A*>(rows[r]);
  for (int k = 0; k < kCount; ++k) others[k] = vectors + k * stride;
  const int64_t whole = n - n % kLanes;
  int64_t i = 0;
  for (; i + kLine <= whole; i += kLine) {
    for (int r = 0; r < kRows; ++r) fetch(from[r] + i + kAhead);
    for (int64_t j = i; j < i + kLine; j += kLanes) add_lanes<A, kRows, kCount>(from, others, j, sums);
  }
  for (; i < whole; i += kLanes) add_lanes<A, kRows, kCount>(from, others, i, sums);
  if (whole < n) add_rest<A, kRows, kCount>(from, others, whole, n, sums);
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < kCount; ++k) {
      const Lanes sum = sums[r][k];
      to[r * of_row + k] += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
}

template <class A, int kRows>
void add_products(const void* const* rows, const double* vectors, int64_t stride, int count, int64_t n, double* to) {
  int k = 0;
  for (; k + kAtOnce <= count; k += kAtOnce)
    add_some<A, kRows, kAtOnce>(rows, vectors + k * stride, stride, n, to + k, count);
  if (k < count) add_some<A, kRows, 1>(rows, vectors + k * stride, stride, n, to + k, count);
}

template <class A>
void add_multiples(const void* const* rows, const double* factors, double* sums, int64_t n) {
  const A *x0 = static_cast<const A*>(rows[0]), *x1 = static_cast<const A*>(rows[1]),
          *x2 = static_cast<const A*>(rows[2]), *x3 = static_cast<const A*>(rows[3]);
  const double a0 = factors[0], a1 = factors[1], a2 = factors[2], a3 = factors[3];
  static_assert(kRowsAtOnce == 4);
  constexpr int64_t kLine = kLineBytes / sizeof(A);
  int64_t i = 0;
  for (; i + kLine <= n; i += kLine) {
    fetch(x0 + i + kAhead), fetch(x1 + i + kAhead), fetch(x2 + i + kAhead), fetch(x3 + i + kAhead);
#pragma GCC ivdep
    for (int64_t j = i; j < i + kLine; ++j) sums[j] += (a0 * x0[j] + a1 * x1[j]) + (a2 * x2[j] + a3 * x3[j]);
  }
  for (; i < n; ++i) sums[i] += (a0 * x0[i] + a1 * x1[i]) + (a2 * x2[i] + a3 * x3[i]);
}

template <class A>
void add_multiple(const void* row, double factor, double* sums, int64_t n) {
  const A* x = static_cast<const A*>(row);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sums[i] += factor * x[i];
}

template <class A>
void sum_of_two(const void* const* rows, const double* factors, void* sums, int64_t n) {
  const A *x0 = static_cast<const A*>(rows[0]), *x1 = static_cast<const A*>(rows[1]);
  A* to = static_cast<A*>(sums);
  const double a0 = factors[0], a1 = factors[1];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<A>(a0 * x0[i] + a1 * x1[i]);
}

template <class A>
void widen(const void* from, double* to, int64_t n) {
  const A* x = static_cast<const A*>(from);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = x[i];
}

template <class A>
void narrow(const double* from, void* to, int64_t n) {
  A* x = static_cast<A*>(to);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<A>(from[i]);
}

double largest(const double* values, double largest, int64_t n) {
  Lanes most = {largest, largest, largest, largest};
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    Lanes x;
    load(values + i, x);
    x = x < 0 ? -x : x;
    most = x > most ? x : most;
  }
  for (int k = 0; k < kLanes; ++k) largest = most[k] > largest ? most[k] : largest;
  for (int64_t i = whole; i < n; ++i) {
    const double x = values[i] < 0 ? -values[i] : values[i];
    largest = x > largest ? x : largest;
  }
  return largest;
}

template <class A>
constexpr StretchKernel kernel_of() {
  return {widen<A>,         narrow<A>,       add_products<A, kRowsAtOnce>, add_products<A, 1>,
          add_multiples<A>, add_multiple<A>, sum_of_two<A>, largest};
}

}  // namespace

const StretchKernel kStretchFloat = kernel_of<float>(), kStretchDouble = kernel_of<double>();

}  // namespace TFOPT_ISA
}  // namespace tfopt
