#include "custom_ops/apply/apply.h"

#include <algorithm>
#include <cstring>

namespace tfopt {

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
  const bool whole = !variable.average && weight_ == compute_type(weight_) && variable.gradient.direct(gradient_) &&
                     bound_ == HUGE_VAL;
  const int64_t tile = whole ? end - begin : kTile;
  for (; begin < end; begin += tile) run_tile(variable, begin, std::min(tile, end - begin));
}

// A part of any length where nothing has to be put together first, else of at most kTile.
void Plan::run_tile(const Variable& variable, int64_t begin, int64_t n) const {
  const Type compute = compute_type(weight_);
  float wide_weight[kTile];
  Scratch scratch;
  void* weight = advance(variable.weight, begin, weight_);
  void* slots[kMostSlots] = {};
  for (int k = 0; k < rule_.slots; ++k) slots[k] = advance(variable.slots[k], begin, compute);
  void* point = weight;
  if (weight_ != compute) {
    table_.widen[weight_](weight, wide_weight, n);
    point = wide_weight;
  }
  Step step = variable.step;
  const void* gradient = gradient_tile(variable.gradient, begin, n, scratch, step);
  (compute == kDouble ? rule_.update_double : rule_.update_float)(gradient, point, slots, n, step);
  if (variable.average)
    table_.average[compute](point, advance(variable.average, begin, compute), n, average_rate_);
  if (weight_ != compute) table_.narrow[weight_](wide_weight, weight, n);
}

const void* Plan::gradient_tile(const Gradient& gradient, int64_t begin, int64_t n, Scratch& scratch,
                                Step& step) const {
  const Type compute = compute_type(gradient_);
  const void* tile = gradient.tile(table_, gradient_, begin, n, scratch);
  if (gradient.accumulator) std::memset(advance(gradient.accumulator, begin, compute), 0, n * size_of(compute));
  if (bound_ == HUGE_VAL) return tile;
  table_.cut[compute](tile, scratch.bytes, n, step.factor, bound_);
  step.factor = 1;
  return scratch.bytes;
}

}  // namespace tfopt
