// Compiled once for each instruction set, as custom_ops/apply/kernels.cc. The lanes that a sum is taken in are the
// same on all of them.
#include "custom_ops/norm/loops.h"

#include <type_traits>

#include "custom_ops/norm/inputs.h"
#include "custom_ops/norm/kernels.h"
#include "custom_ops/norm/past.h"
#include "custom_ops/rules/element.h"

namespace tfopt {
namespace TFOPT_ISA {
namespace {

constexpr int kLanes = 16;
// Elements of a lane that are added up in float before the sum goes on in double.
constexpr int kDepth = 4;
// Rows of a column likewise, as many as there are registers for.
template <class T>
constexpr int kHigh = kTogether<T> > 1 ? 8 : 4;
// Rows that share what their columns need.
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

// Adds up two terms of each of n elements. `terms(i, a, b)` gives those of element i and of the ones behind it, as
// many as `a` and `b` hold.
template <int kCount, class T, int kTensors, class Terms>
TFOPT_ELEMENT void add_terms(const Inputs<T, kTensors>& inputs, int64_t n, double* sums, const Terms& terms) {
  constexpr int kStride = kLanes * kDepth, kSteps = kStride / kCount;
  Lanes lanes;
  float a[kStride], b[kStride];
  const int64_t whole = n - n % kStride;
  for (int64_t i = 0; i < whole; i += kStride) {
    inputs.fetch(i, kStride);
#pragma GCC ivdep
    for (int k = 0; k < kSteps; ++k) {
      float of_a[kCount], of_b[kCount];
      terms(i + k * kCount, of_a, of_b);
      for (int m = 0; m < kCount; ++m) {
        a[k + m * kSteps] = of_a[m];
        b[k + m * kSteps] = of_b[m];
      }
    }
    lanes.add(a, b);
  }
  if (whole < n) {
    for (int k = 0; k < kStride; ++k) a[k] = b[k] = 0;
    for (int64_t i = whole; i < n; ++i) {
      float of_a[1], of_b[1];
      terms(i, of_a, of_b);
      a[i - whole] = of_a[0];
      b[i - whole] = of_b[0];
    }
    lanes.add(a, b);
  }
  lanes.add_to(sums);
}

// Adds up two terms of each column over kHeight rows, from the column `begin` on as far as kCount columns at a time go;
// gives the column behind the last. `terms(i, j, a, b)` gives those of element i, which is in column j, and of the
// ones behind it, as many as `a` and `b` hold.
template <int kCount, int kHeight, class Terms>
TFOPT_ELEMENT int64_t add_rows(const Block& block, int64_t row, int64_t begin, double* first, double* second,
                               const Terms& terms) {
  const int64_t end = block.length - (block.length - begin) % kCount;
#pragma GCC ivdep
  for (int64_t j = begin; j < end; j += kCount) {
    float a[kHeight][kCount], b[kHeight][kCount];
    for (int k = 0; k < kHeight; ++k) terms((row + k) * block.step + j, j, a[k], b[k]);
    for (int m = 0; m < kCount; ++m) {
      for (int k = 1; k < kHeight; ++k) {
        a[0][m] += a[k][m];
        b[0][m] += b[k][m];
      }
      first[j + m] += a[0][m];
      second[j + m] += b[0][m];
    }
  }
  return end;
}

template <class T, int kTensors, class Terms>
TFOPT_ELEMENT void add_column_terms(const Inputs<T, kTensors>& inputs, const Block& block, double* first,
                                    double* second, const Terms& terms) {
  int64_t row = 0;
  for (; row + kHigh<T> <= block.rows; row += kHigh<T>) {
    for (int k = 0; k < kHigh<T>; ++k) inputs.fetch((row + k) * block.step, block.length);
    const int64_t done = add_rows<kTogether<T>, kHigh<T>>(block, row, 0, first, second, terms);
    if (done < block.length) add_rows<1, kHigh<T>>(block, row, done, first, second, terms);
  }
  for (; row < block.rows; ++row) {
    const int64_t done = add_rows<kTogether<T>, 1>(block, row, 0, first, second, terms);
    if (done < block.length) add_rows<1, 1>(block, row, done, first, second, terms);
  }
}

template <class T>
float first(const void* x) {
  return widen(*static_cast<const T*>(x));
}

template <class T>
void add_moments(const void* values, float shift, int64_t n, double* sums) {
  const T* x = static_cast<const T*>(values);
  add_terms<kTogether<T>>(inputs(x), n, sums, [=](int64_t i, auto& a, auto& b) __attribute__((always_inline)) {
    read(x + i, a);
    for (int k = 0; k < count_of(a); ++k) {
      a[k] -= shift;
      b[k] = a[k] * a[k];
    }
  });
}

template <class T>
void add_column_moments(const void* values, const Block& block, const float* shift, double* sums, double* squares) {
  const T* x = static_cast<const T*>(values);
  add_column_terms(inputs(x), block, sums, squares,
                   [=](int64_t i, int64_t j, auto& a, auto& b) __attribute__((always_inline)) {
                     read(x + i, a);
                     for (int k = 0; k < count_of(a); ++k) {
                       a[k] -= shift[j + k];
                       b[k] = a[k] * a[k];
                     }
                   });
}

template <class T>
void add_products(const void* values, const void* gradient, float mean, int64_t n, double* sums) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  add_terms<kTogether<T>>(inputs(x, upstream), n, sums,
                          [=](int64_t i, auto& a, auto& b) __attribute__((always_inline)) {
                            read(upstream + i, a);
                            read(x + i, b);
                            for (int k = 0; k < count_of(a); ++k) b[k] = a[k] * (b[k] - mean);
                          });
}

template <class T>
void add_column_products(const void* values, const void* gradient, const Block& block, const float* mean, double* sums,
                         double* products) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  add_column_terms(inputs(x, upstream), block, sums, products,
                   [=](int64_t i, int64_t j, auto& a, auto& b) __attribute__((always_inline)) {
                     read(upstream + i, a);
                     read(x + i, b);
                     for (int k = 0; k < count_of(a); ++k) b[k] = a[k] * (b[k] - mean[j + k]);
                   });
}

template <class T>
void add_row(const void* values, const void* gradient, const Numbers& by, int64_t n, float* by_gamma, float* by_beta,
             double* sums) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  const float mean = *by.mean, inverse = *by.inverse, *gamma = by.gamma;
  // One at a time: what is read and written for each would have to be taken apart in pairs too, which costs more.
  add_terms<1>(inputs(x, upstream), n, sums, [=](int64_t i, auto& a, auto& b) __attribute__((always_inline)) {
    const float normal = (widen(x[i]) - mean) * inverse, slope = widen(upstream[i]);
    by_gamma[i] += slope * normal;
    by_beta[i] += slope;
    a[0] = gamma[i] * slope;
    b[0] = a[0] * normal;
  });
}

template <class T>
void add_elements(const void* values, const void* gradient, const Numbers& by, int64_t n, float* by_gamma,
                  float* by_beta, double* sums, double* products) {
  const T *x = static_cast<const T*>(values), *upstream = static_cast<const T*>(gradient);
  const float *mean = by.mean, *inverse = by.inverse, *gamma = by.gamma;
  inputs(x, upstream).fetch(0, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float normal = (widen(x[i]) - mean[i]) * inverse[i], slope = widen(upstream[i]);
    by_gamma[i] += slope * normal;
    by_beta[i] += slope;
    sums[i] += gamma[i] * slope;
    products[i] += gamma[i] * slope * normal;
  }
}

// Elements from `begin` on of some rows, as far as kCount at a time go within `end`; gives the one behind the last.
// `results(row, j, made)` gives element j of a row and the ones behind it, as many as `made` holds; `to` is where
// `begin` goes.
template <int kCount, class T, class Results>
TFOPT_ELEMENT int64_t make_part(T* const (&to)[1], int64_t row, int64_t begin, int64_t end, const Results& results) {
  T* a = to[0];
  const int64_t n = (end - begin) / kCount * kCount;
#pragma GCC ivdep
  for (int64_t j = 0; j < n; j += kCount) {
    float made[kCount];
    results(row, begin + j, made);
    write(made, a + j);
  }
  return begin + n;
}

template <int kCount, class T, class Results>
TFOPT_ELEMENT int64_t make_part(T* const (&to)[kRows], int64_t row, int64_t begin, int64_t end,
                                const Results& results) {
  T *a = to[0], *b = to[1], *c = to[2], *d = to[3];
  const int64_t n = (end - begin) / kCount * kCount;
#pragma GCC ivdep
  for (int64_t j = 0; j < n; j += kCount) {
    // All before the first is written, which might be what the others are made from.
    float made[kRows][kCount];
    for (int k = 0; k < kRows; ++k) results(row + k, begin + j, made[k]);
    write(made[0], a + j);
    write(made[1], b + j);
    write(made[2], c + j);
    write(made[3], d + j);
  }
  return begin + n;
}

// Makes kMade rows of a block, from `row` on, and puts them where they belong.
template <int kMade, class T, int kTensors, class Results>
TFOPT_ELEMENT void make_rows(const Inputs<T, kTensors>& inputs, const Block& block, int64_t row, T* to, bool past,
                             const Results& results) {
  T made[kMade][kAtOnce];
  T* rows[kMade];
  for (int64_t begin = 0; begin < block.length; begin += kAtOnce) {
    const int64_t rest = block.length - begin, end = begin + (rest < kAtOnce ? rest : kAtOnce);
    T* const target = to + row * block.step + begin;
    for (int k = 0; k < kMade; ++k) {
      inputs.fetch((row + k) * block.step + begin, end - begin);
      rows[k] = past ? made[k] : target + k * block.step;
    }
    const int64_t done = make_part<kTogether<T>>(rows, row, begin, end, results);
    if (done < end) {
      for (int k = 0; k < kMade; ++k) rows[k] += done - begin;
      make_part<1>(rows, row, done, end, results);
    }
    for (int k = 0; past && k < kMade; ++k) write_past(made[k], target + k * block.step, end - begin);
  }
}

// The rows of a block, some at a time.
template <class T, int kTensors, class Results>
TFOPT_ELEMENT void make_block(const Inputs<T, kTensors>& inputs, const Block& block, T* to, bool past,
                              const Results& results) {
  int64_t row = 0;
  for (; row + kRows <= block.rows; row += kRows) make_rows<kRows>(inputs, block, row, to, past, results);
  for (; row < block.rows; ++row) make_rows<1>(inputs, block, row, to, past, results);
}

template <class T, class S, class P>
void apply(const void* values, const Block& block, const Numbers& by, void* y, bool past) {
  const T* x = static_cast<const T*>(values);
  const S mean = S::make(by.mean), inverse = S::make(by.inverse);
  const P gamma = P::make(by.gamma), beta = P::make(by.beta);
  const int64_t step = block.step, parameter_step = block.parameter_step;
  const auto of = [=](int64_t i, int64_t j, int64_t place, auto& made) __attribute__((always_inline)) {
    read(x + i, made);
    for (int k = 0; k < count_of(made); ++k)
      made[k] = (made[k] - mean[j + k]) * (inverse[j + k] * gamma[place + k]) + beta[place + k];
  };
  if (parameter_step == 0) {
    make_block(inputs(x), block, static_cast<T*>(y), past,
               [=](int64_t row, int64_t j, auto& made) __attribute__((always_inline)) { of(row * step + j, j, j, made); });
  } else {
    make_block(inputs(x), block, static_cast<T*>(y), past,
               [=](int64_t row, int64_t j, auto& made) __attribute__((always_inline)) {
                 of(row * step + j, j, row * parameter_step + j, made);
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
  const auto of = [=](int64_t i, int64_t j, int64_t place, auto& made) __attribute__((always_inline)) {
    std::remove_reference_t<decltype(made)> centred;
    read(x + i, centred);
    read(upstream + i, made);
    for (int k = 0; k < count_of(made); ++k) {
      centred[k] -= mean[j + k];
      made[k] = made[k] * (inverse[j + k] * gamma[place + k]) - (centred[k] * slope[j + k] + common[j + k]);
    }
  };
  if (parameter_step == 0) {
    make_block(inputs(x, upstream), block, static_cast<T*>(by_x), past,
               [=](int64_t row, int64_t j, auto& made) __attribute__((always_inline)) { of(row * step + j, j, j, made); });
  } else {
    make_block(inputs(x, upstream), block, static_cast<T*>(by_x), past,
               [=](int64_t row, int64_t j, auto& made) __attribute__((always_inline)) {
                 of(row * step + j, j, row * parameter_step + j, made);
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
