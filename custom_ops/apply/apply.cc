#include "custom_ops/apply/apply.h"

#include <algorithm>

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
  const bool beside = variable.average || variable.gradient.accumulator || bound_ != HUGE_VAL;
  if (!beside && weight_ == compute_type(weight_) && variable.gradient.direct(gradient_))
    return run_whole(variable, begin, end - begin);
  Scratch zeros[2] = {};
  for (; begin < end; begin += kTile) run_tile(variable, begin, std::min(kTile, end - begin), beside, zeros);
}

void Plan::run_whole(const Variable& variable, int64_t begin, int64_t n) const {
  void* slots[kMostSlots] = {};
  for (int k = 0; k < rule_.slots; ++k) slots[k] = advance(variable.slots[k], begin, weight_);
  (weight_ == kDouble ? rule_.update_double : rule_.update_float)(
      advance(variable.gradient.values, begin, gradient_), advance(variable.weight, begin, weight_), slots, n,
      variable.step);
}

void Plan::run_tile(const Variable& variable, int64_t begin, int64_t n, bool beside, Scratch* zeros) const {
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
  const void* gradient = variable.gradient.own_tile(table_, gradient_, begin, n, scratch);
  if (beside) {
    const Beside with = make_beside(variable, begin, zeros);
    (compute == kDouble ? rule_.update_beside_double : rule_.update_beside_float)(gradient, point, slots, n,
                                                                                  variable.step, with);
  } else {
    (compute == kDouble ? rule_.update_double : rule_.update_float)(gradient, point, slots, n, variable.step);
  }
  if (weight_ != compute) table_.narrow[weight_](wide_weight, weight, n);
}

Beside Plan::make_beside(const Variable& variable, int64_t begin, Scratch* zeros) const {
  const Type compute = compute_type(weight_);
  Beside made = {zeros[0].bytes, zeros[1].bytes, bound_, variable.average ? average_rate_ : 0};
  if (variable.gradient.accumulator) made.accumulator = advance(variable.gradient.accumulator, begin, compute);
  if (variable.average) made.average = advance(variable.average, begin, compute);
  return made;
}

}  // namespace tfopt
