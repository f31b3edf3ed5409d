// The sum of squares of a stretch of numbers, in double: lanes that are summed side by side, then in order. The
// lanes are the same on every instruction set. Compiled once for each, as kernels.cc.
#include "custom_ops/apply/squares.h"

#include "custom_ops/rules/element.h"

namespace tfopt {
namespace TFOPT_ISA {
namespace {

constexpr int kLanes = 16;

// Squares of floats are exact in double, and a sum of them cannot overflow.
TFOPT_ELEMENT void add_square(float x, double& plain, double&) {
  const double wide = x;
  plain += wide * wide;
}

TFOPT_ELEMENT void add_square(double x, double& plain, double& large) {
  const double size = __builtin_fabs(x);
  const bool fits = !(size > 0x1p480);  // NaN counts as fitting, so that the sum becomes NaN
  const double direct = fits ? x : 0.0, scaled = fits ? 0.0 : x * 0x1p-600;
  plain += direct * direct;
  large += scaled * scaled;
}

template <class A>
TFOPT_ELEMENT void add_lanes(const A* x, double* plain, double* large) {
#pragma GCC ivdep
  for (int k = 0; k < kLanes; ++k) add_square(x[k], plain[k], large[k]);
}

template <class A>
TFOPT_ELEMENT Squares sum_squares(const A* x, int64_t n) {
  double plain[kLanes] = {}, large[kLanes] = {};
  A rest[kLanes] = {};
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) add_lanes(x + i, plain, large);
  for (int64_t i = whole; i < n; ++i) rest[i - whole] = x[i];
  add_lanes(rest, plain, large);
  Squares sum = {0, 0};
  for (int k = 0; k < kLanes; ++k) {
    sum.plain += plain[k];
    sum.large += large[k];
  }
  return sum;
}

}  // namespace

Squares squares_float(const void* values, int64_t n) { return sum_squares(static_cast<const float*>(values), n); }

Squares squares_double(const void* values, int64_t n) { return sum_squares(static_cast<const double*>(values), n); }

}  // namespace TFOPT_ISA
}  // namespace tfopt
