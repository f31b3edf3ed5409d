#include "custom_ops/apply/apply.h"

#include <algorithm>

namespace tfopt {
namespace {

// Elements worked on before the next; a tile and its slots stay in the nearest cache.
constexpr int64_t kTile = 1024;

void* advance(void* pointer, int64_t elements, Type type) {
  return static_cast<char*>(pointer) + elements * size_of(type);
}

const void* advance(const void* pointer, int64_t elements, Type type) {
  return static_cast<const char*>(pointer) + elements * size_of(type);
}

}  // namespace

void Plan::reserve(int variables) {
  variables_.reserve(variables);
  offsets_.reserve(variables + 1);
}

void Plan::add(const Variable& variable, int64_t size) {
  variables_.push_back(variable);
  offsets_.push_back(offsets_.back() + size);
}

void Plan::run(int64_t begin, int64_t end) const {
  auto i = std::upper_bound(offsets_.begin(), offsets_.end(), begin) - offsets_.begin() - 1;
  for (; begin < end; ++i) {
    const int64_t stop = std::min(end, offsets_[i + 1]);
    if (stop > begin) run_variable(variables_[i], begin - offsets_[i], stop - offsets_[i]);
    begin = stop;
  }
}

void Plan::run_variable(const Variable& variable, int64_t begin, int64_t end) const {
  const bool direct = !variable.average && weight_ == compute_type(weight_) && gradient_ == weight_;
  const int64_t tile = direct ? end - begin : kTile;
  for (; begin < end; begin += tile) run_tile(variable, begin, std::min(tile, end - begin));
}

void Plan::run_tile(const Variable& variable, int64_t begin, int64_t n) const {
  const Type compute = compute_type(weight_);
  float wide_weight[kTile], wide_gradient[kTile];
  void* weight = advance(variable.weight, begin, weight_);
  const void* gradient = advance(variable.gradient, begin, gradient_);
  void* slots[kMostSlots] = {};
  for (int k = 0; k < rule_.slots; ++k) slots[k] = advance(variable.slots[k], begin, compute);
  void* point = weight;
  if (weight_ != compute) {
    table_.widen[weight_](weight, wide_weight, n);
    point = wide_weight;
  }
  if (gradient_ != compute) {
    table_.widen[gradient_](gradient, wide_gradient, n);
    gradient = wide_gradient;
  }
  (compute == kDouble ? rule_.update_double : rule_.update_float)(gradient, point, slots, n, variable.step);
  if (variable.average)
    table_.average[compute](point, advance(variable.average, begin, compute), n, average_rate_);
  if (weight_ != compute) table_.narrow[weight_](wide_weight, weight, n);
}

}  // namespace tfopt
