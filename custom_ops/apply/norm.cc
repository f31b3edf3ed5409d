#include "custom_ops/apply/norm.h"

#include <algorithm>
#include <cmath>

namespace tfopt {
namespace {

constexpr int64_t kBlock = 1 << 16;

void add(Squares& sum, const Squares& more) {
  sum.plain += more.plain;
  sum.large += more.large;
}

double root_of(const Squares& sum) {
  // Without squares that are too large the other part is exactly 0.
  if (sum.large == 0) return std::sqrt(sum.plain);
  return std::sqrt(sum.large + sum.plain * 0x1p-600 * 0x1p-600) * 0x1p600;
}

}  // namespace

void NormPlan::add(const Gradient& gradient, int64_t size) {
  const int i = static_cast<int>(gradients_.size());
  gradients_.push_back(gradient);
  for (int64_t begin = 0; begin < size; begin += kBlock)
    blocks_.push_back({i, begin, std::min(size, begin + kBlock), {0, 0}});
  firsts_.push_back(blocks());
  elements_ += size;
}

void NormPlan::run(int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; ++k) {
    Block& block = blocks_[k];
    block.sum = sum_block(gradients_[block.gradient], block.begin, block.end);
  }
}

Squares NormPlan::sum_block(const Gradient& gradient, int64_t begin, int64_t end) const {
  const Type compute = compute_type(type_);
  if (gradient.direct(type_)) return table_.squares[compute](advance(gradient.values, begin, type_), end - begin);
  Squares sum = {0, 0};
  Scratch scratch;
  for (; begin < end; begin += kTile) {
    const int64_t n = std::min(kTile, end - begin);
    tfopt::add(sum, table_.squares[compute](gradient.tile(table_, type_, begin, n, scratch), n));
  }
  return sum;
}

Squares NormPlan::sum_of(int i) const {
  Squares sum = {0, 0};
  for (int64_t k = firsts_[i]; k < firsts_[i + 1]; ++k) tfopt::add(sum, blocks_[k].sum);
  return sum;
}

double NormPlan::norm(int i) const { return root_of(sum_of(i)); }

double NormPlan::global_norm() const {
  Squares sum = {0, 0};
  for (size_t i = 0; i < gradients_.size(); ++i) tfopt::add(sum, sum_of(static_cast<int>(i)));
  return root_of(sum);
}

}  // namespace tfopt
