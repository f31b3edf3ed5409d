// Coordinate descent, one number or row at a time. Compiled once per instruction set, as apply/kernels.cc.
#include "custom_ops/codes/kernels.h"

#include "custom_ops/rules/element.h"

namespace tfopt {
namespace TFOPT_ISA {
namespace {

// to −= factor from
template <class A>
TFOPT_ELEMENT void subtract(A factor, const A* from, A* to, int64_t n) {
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) to[j] -= factor * from[j];
}

template <class A>
TFOPT_ELEMENT A absolute(A x) {
  return x < 0 ? -x : x;
}

// q = W(x − Wᵀh)
template <class A>
TFOPT_ELEMENT void correlate(const Lasso& lasso, const A* target, const A* code, A* q) {
  const A* gram = static_cast<const A*>(lasso.gram);
  for (int64_t j = 0; j < lasso.atoms; ++j) q[j] = target[j];
  for (int64_t k = 0; k < lasso.atoms; ++k)
    if (code[k] != 0) subtract(code[k], gram + k * lasso.atoms, q, lasso.atoms);
}

// Each coordinate in turn at its minimum; q is kept up with.
template <class A>
TFOPT_ELEMENT void descend(const Lasso& lasso, A* code, A* q) {
  const A alpha = static_cast<A>(lasso.l1 / 2);
  const A* row = static_cast<const A*>(lasso.gram);
  for (int64_t k = 0; k < lasso.atoms; ++k, row += lasso.atoms) {
    const A diagonal = row[k], value = q[k] + diagonal * code[k], size = absolute(value) - alpha;
    // NaN stays, so that it is seen; an atom of length 0 has no part in the sample.
    const A next = size <= 0 || diagonal == 0 ? 0 : (value < 0 ? -size : size) / diagonal;
    const A step = next - code[k];
    if (step == 0) continue;
    code[k] = next;
    subtract(step, row, q, lasso.atoms);
  }
}

// (1 − s)²‖r‖² + λ‖h‖₁ − 2s qᵀh with s = min(1, λ / 2 max|q|): how far the cost may lie above its least.
template <class A>
TFOPT_ELEMENT double duality_gap(const Lasso& lasso, const A* target, double square, const A* code, const A* q) {
  double residual = square, largest = 0, length = 0, product = 0;
  for (int64_t k = 0; k < lasso.atoms; ++k) {
    const double h = code[k], correlation = q[k];
    residual -= (target[k] + correlation) * h;
    length += absolute(h);
    product += correlation * h;
    if (absolute(correlation) > largest) largest = absolute(correlation);
  }
  const double scale = 2 * largest > lasso.l1 ? lasso.l1 / (2 * largest) : 1;
  return (1 - scale) * (1 - scale) * (residual > 0 ? residual : 0) + lasso.l1 * length - 2 * scale * product;
}

template <class A>
void encode(const Lasso& lasso, const void* targets, const void* squares, void* codes, int64_t count, void* scratch) {
  A* q = static_cast<A*>(scratch);
  for (int64_t i = 0; i < count; ++i) {
    const A* target = static_cast<const A*>(targets) + i * lasso.atoms;
    const double square = static_cast<const A*>(squares)[i];
    A* code = static_cast<A*>(codes) + i * lasso.atoms;
    correlate(lasso, target, code, q);
    for (int64_t passes = 0; passes < lasso.passes; passes += kPassesBetween) {
      for (int64_t pass = 0; pass < kPassesBetween; ++pass) descend(lasso, code, q);
      // Anew, because what rounding has left in it grows with every change.
      correlate(lasso, target, code, q);
      if (!(duality_gap(lasso, target, square, code, q) > lasso.tolerance * square)) break;
    }
  }
}

template <class A>
void fit_rows(const Ball& ball, void* rows, void* scratch) {
  A *all = static_cast<A*>(rows), *value = static_cast<A*>(scratch);
  const int64_t n = ball.features;
  for (int64_t visit = 0; visit < ball.passes * ball.atoms; ++visit) {
    const int64_t k = visit % ball.atoms;
    const A* factors = static_cast<const A*>(ball.square) + k * ball.atoms;
    const A *right = static_cast<const A*>(ball.right) + k * n, diagonal = factors[k];
    if (!(diagonal > 0)) continue;
    for (int64_t j = 0; j < n; ++j) value[j] = right[j];
    for (int64_t other = 0; other < ball.atoms; ++other)
      if (other != k && factors[other] != 0) subtract(factors[other], all + other * n, value, n);
    double square = 0;
    for (int64_t j = 0; j < n; ++j) {
      value[j] /= diagonal;
      square += static_cast<double>(value[j]) * value[j];
    }
    const A shrink = square > 1 ? static_cast<A>(1 / root(square)) : 1;
    for (int64_t j = 0; j < n; ++j) all[k * n + j] = shrink * value[j];
  }
}

}  // namespace

const CodesLoops kCodesFloat = {encode<float>, fit_rows<float>}, kCodesDouble = {encode<double>, fit_rows<double>};

}  // namespace TFOPT_ISA
}  // namespace tfopt
