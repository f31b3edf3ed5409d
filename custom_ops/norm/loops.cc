// Compiled once for each instruction set, as custom_ops/apply/kernels.cc. The lanes that a sum is taken in are the
// same on all of them.
#include "custom_ops/norm/loops.h"

#include "custom_ops/apply/half.h"
#include "custom_ops/norm/kernels.h"
#include "custom_ops/norm/past.h"
#include "custom_ops/rules/element.h"

namespace tfopt {
namespace TFOPT_ISA {
namespace {

constexpr int kLanes = 16;
// Elements of a lane that are added up in float before the sum goes on in double.
constexpr int kDepth = 4;
// Rows of a column likewise; rows that share what their columns need.
constexpr int kRows = 4;
// Elements that are made before they go past the caches.
constexpr int kAtOnce = 256;

// A number that is the same for all elements, and one of each element's own.
struct One {
  float number;
  TFOPT_ELEMENT One make(const float* from) { return {*from}; }
  __attribute__((always_inline)) float operator[](int64_t) const { return number; }
};

struct Each {
  const float* numbers;
  TFOPT_ELEMENT Each make(const float* from) { return {from}; }
  __attribute__((always_inline)) float operator[](int64_t i) const { return numbers[i]; }
};

// Two sums in double lanes, of terms in float that come kLanes * kDepth at a time.
struct Lanes {
  double first[kLanes] = {}, second[kLanes] = {};

  __attribute__((always_inline)) void add(const float* a, const float* b) {
#pragma GCC ivdep
    for (int k = 0; k < kLanes; ++k) {
      first[k] += (a[k] + a[k + kLanes]) + (a[k + 2 * kLanes] + a[k + 3 * kLanes]);
      second[k] += (b[k] + b[k + kLanes]) + (b[k + 2 * kLanes] + b[k + 3 * kLanes]);
    }
  }

  __attribute__((always_inline)) void add_to(double* sums) const {
    for (int k = 0; k < kLanes; ++k) {
      sums[0] += first[k];
      sums[1] += second[k];
    }
  }
};
static_assert(kDepth == 4);

// Adds up two terms of each of n elements; `terms(i, a, b)` gives those of element i.
template <class Terms>
TFOPT_ELEMENT void add_terms(int64_t n, double* sums, const Terms& terms) {
  constexpr int kStride = kLanes * kDepth;
  Lanes lanes;
  float a[kStride], b[kStride];
  const int64_t whole = n - n % kStride;
  for (int64_t i = 0; i < whole; i += kStride) {
#pragma GCC ivdep
    for (int k = 0; k < kStride; ++k) terms(i + k, a[k], b[k]);
    lanes.add(a, b);
  }
  if (whole < n) {
    for (int k = 0; k < kStride; ++k) a[k] = b[k] = 0;
    for (int64_t i = whole; i < n; ++i) terms(i, a[i - whole], b[i - whole]);
    lanes.add(a, b);
  }
  lanes.add_to(sums);
}

// Adds up two terms of each column; `terms(row, j, a, b)` gives those of column j, `row` counted in elements.
template <class Terms>
TFOPT_ELEMENT void add_column_terms(const Block& block, double* first, double* second, const Terms& terms) {
  int64_t row = 0;
  for (; row + kRows <= block.rows; row += kRows) {
#pragma GCC ivdep
    for (int64_t j = 0; j < block.length; ++j) {
      float a[kRows], b[kRows];
      for (int k = 0; k < kRows; ++k) terms((row + k) * block.step, j, a[k], b[k]);
      first[j] += (a[0] + a[1]) + (a[2] + a[3]);
      second[j] += (b[0] + b[1]) + (b[2] + b[3]);
    }
  }
  static_assert(kRows == 4);
  for (; row < block.rows; ++row) {
#pragma GCC ivdep
    for (int64_t j = 0; j < block.length; ++j) {
      float a, b;
      terms(row * block.step, j, a, b);
      first[j] += a;
      second[j] += b;
    }
  }
}

template <class T>
float first(const void* x) {
  return widen(*static_cast<const T*>(x));
}

template <class T>
void add_moments(const void* values, float shift, int64_t n, double* sums) {
  const T* x = static_cast<const T*>(values);
  add_terms(n, sums, [=](int64_t i, float& a, float& b) __attribute__((always_inline)) {
    a = widen(x[i]) - shift;
    b = a * a;
  });
}

template <class T>
void add_column_moments(const void* values, const Block& block, const float* shift, double* sums, double* squares) {
  const T* x = static_cast<const T*>(values);
  add_column_terms(block, sums, squares, [=](int64_t row, int64_t j, float& a, float& b) __attribute__((always_inline)) {
    a = widen(x[row + j]) - shift[j];
    b = a * a;
  });
}

template <class T>
void add_products(const void* values, const void* gradient, float mean, int64_t n, double* sums) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  add_terms(n, sums, [=](int64_t i, float& a, float& b) __attribute__((always_inline)) {
    a = widen(upstream[i]);
    b = a * (widen(x[i]) - mean);
  });
}

template <class T>
void add_column_products(const void* values, const void* gradient, const Block& block, const float* mean, double* sums,
                         double* products) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  add_column_terms(block, sums, products, [=](int64_t row, int64_t j, float& a, float& b) __attribute__((always_inline)) {
    a = widen(upstream[row + j]);
    b = a * (widen(x[row + j]) - mean[j]);
  });
}

template <class T>
void add_row(const void* values, const void* gradient, const Numbers& by, int64_t n, float* by_gamma, float* by_beta,
             double* sums) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  const float mean = *by.mean, inverse = *by.inverse, *gamma = by.gamma;
  add_terms(n, sums, [=](int64_t i, float& a, float& b) __attribute__((always_inline)) {
    const float normal = (widen(x[i]) - mean) * inverse, slope = widen(upstream[i]);
    by_gamma[i] += slope * normal;
    by_beta[i] += slope;
    a = gamma[i] * slope;
    b = a * normal;
  });
}

template <class T>
void add_elements(const void* values, const void* gradient, const Numbers& by, int64_t n, float* by_gamma,
                  float* by_beta, double* sums, double* products) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  const float *mean = by.mean, *inverse = by.inverse, *gamma = by.gamma;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float normal = (widen(x[i]) - mean[i]) * inverse[i], slope = widen(upstream[i]);
    by_gamma[i] += slope * normal;
    by_beta[i] += slope;
    sums[i] += gamma[i] * slope;
    products[i] += gamma[i] * slope * normal;
  }
}

// The part [begin, begin + n) of one row or of kRows, `results(row, j)` giving element j of one.
template <class T, class Results>
TFOPT_ELEMENT void make_part(T* const (&to)[1], int64_t begin, int64_t n, const Results& results) {
  T* a = to[0];
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) narrow(results(0, begin + j), a[j]);
}

template <class T, class Results>
TFOPT_ELEMENT void make_part(T* const (&to)[kRows], int64_t begin, int64_t n, const Results& results) {
  T *a = to[0], *b = to[1], *c = to[2], *d = to[3];
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) {
    // All before the first is written, which might be what the others are made from.
    const float made[kRows] = {results(0, begin + j), results(1, begin + j), results(2, begin + j),
                               results(3, begin + j)};
    narrow(made[0], a[j]);
    narrow(made[1], b[j]);
    narrow(made[2], c[j]);
    narrow(made[3], d[j]);
  }
}

// Makes kCount rows of n elements, and puts them where they belong.
template <int kCount, class T, class Results>
TFOPT_ELEMENT void make_rows(T* to, int64_t step, int64_t n, bool past, const Results& results) {
  T made[kCount][kAtOnce];
  T* rows[kCount];
  for (int64_t begin = 0; begin < n; begin += kAtOnce) {
    const int64_t count = n - begin < kAtOnce ? n - begin : kAtOnce;
    for (int k = 0; k < kCount; ++k) rows[k] = past ? made[k] : to + k * step + begin;
    make_part(rows, begin, count, results);
    for (int k = 0; past && k < kCount; ++k) write_past(made[k], to + k * step + begin, count);
  }
}

// The rows of a block, some at a time; `results(row, j)`.
template <class T, class Results>
TFOPT_ELEMENT void make_block(const Block& block, T* to, bool past, const Results& results) {
  int64_t row = 0;
  for (; row + kRows <= block.rows; row += kRows)
    make_rows<kRows>(to + row * block.step, block.step, block.length, past,
                     [=](int k, int64_t j) __attribute__((always_inline)) { return results(row + k, j); });
  for (; row < block.rows; ++row)
    make_rows<1>(to + row * block.step, block.step, block.length, past,
                 [=](int, int64_t j) __attribute__((always_inline)) { return results(row, j); });
  if (past) finish_past();
}

template <class T, class S, class P>
void apply(const void* values, const Block& block, const Numbers& by, void* y, bool past) {
  const T* x = static_cast<const T*>(values);
  const S mean = S::make(by.mean), inverse = S::make(by.inverse);
  const P gamma = P::make(by.gamma), beta = P::make(by.beta);
  const int64_t step = block.step, parameter_step = block.parameter_step;
  if (parameter_step == 0) {
    make_block(block, static_cast<T*>(y), past, [=](int64_t row, int64_t j) __attribute__((always_inline)) {
      return (widen(x[row * step + j]) - mean[j]) * (inverse[j] * gamma[j]) + beta[j];
    });
  } else {
    make_block(block, static_cast<T*>(y), past, [=](int64_t row, int64_t j) __attribute__((always_inline)) {
      const int64_t place = row * parameter_step + j;
      return (widen(x[row * step + j]) - mean[j]) * (inverse[j] * gamma[place]) + beta[place];
    });
  }
}

template <class T, class S, class P>
void apply_backward(const void* values, const void* gradient, const Block& block, const Numbers& by, void* by_x,
                    bool past) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  const S mean = S::make(by.mean), inverse = S::make(by.inverse), common = S::make(by.common),
          slope = S::make(by.slope);
  const P gamma = P::make(by.gamma);
  const int64_t step = block.step, parameter_step = block.parameter_step;
  const auto of = [=](int64_t i, int64_t j, float gamma) __attribute__((always_inline)) {
    return widen(upstream[i]) * (inverse[j] * gamma) - ((widen(x[i]) - mean[j]) * slope[j] + common[j]);
  };
  if (parameter_step == 0) {
    make_block(block, static_cast<T*>(by_x), past, [=](int64_t row, int64_t j) __attribute__((always_inline)) {
      return of(row * step + j, j, gamma[j]);
    });
  } else {
    make_block(block, static_cast<T*>(by_x), past, [=](int64_t row, int64_t j) __attribute__((always_inline)) {
      return of(row * step + j, j, gamma[row * parameter_step + j]);
    });
  }
}

template <class T>
constexpr NormalizeLoops loops_of() {
  return {
      first<T>,
      add_moments<T>,
      add_column_moments<T>,
      {apply<T, One, One>, apply<T, One, Each>, apply<T, Each, Each>},
      add_products<T>,
      add_column_products<T>,
      add_row<T>,
      add_elements<T>,
      {apply_backward<T, One, One>, apply_backward<T, One, Each>, apply_backward<T, Each, Each>},
  };
}

}  // namespace

const NormalizeLoops kNormalizeFloat = loops_of<float>(), kNormalizeHalf = loops_of<Half>(),
                     kNormalizeBfloat16 = loops_of<Bfloat16>();

}  // namespace TFOPT_ISA
}  // namespace tfopt
