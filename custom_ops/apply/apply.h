// Runs a rule over a list of variables; no TensorFlow.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "custom_ops/apply/gradient.h"

namespace tfopt {

// One variable of a step, with its buffers.
struct Variable {
  Gradient gradient;  // its accumulator, if any, is zeroed
  void* weight = nullptr;
  void* slots[kMostSlots] = {};
  void* average = nullptr;  // null: none is kept
  Step step = {};
};

// A whole step. Elements of all variables are numbered through, so that work divides by elements.
class TFOPT_SHARED Plan {
 public:
  // `rule` is a place in the tables; gradients, once multiplied by their factor, are cut off at ±`bound`.
  Plan(const Table& table, int rule, Type weight, Type gradient, double average_rate, double bound = HUGE_VAL)
      : table_(table),
        rule_(table.rules[rule]),
        weight_(weight),
        gradient_(gradient),
        average_rate_(average_rate),
        bound_(bound) {}

  void reserve(int variables);
  void add(const Variable& variable, int64_t size);

  int64_t size() const { return offsets_.back(); }

  // Updates elements [begin, end); ranges that do not overlap may run at the same time.
  void run(int64_t begin, int64_t end) const;

 private:
  void run_variable(const Variable& variable, int64_t begin, int64_t end) const;
  // Where nothing has to be put together first.
  void run_whole(const Variable& variable, int64_t begin, int64_t n) const;
  // At most kTile elements; two tiles of `zeros` stand in for what there is not to do beside the rule.
  void run_tile(const Variable& variable, int64_t begin, int64_t n, bool beside, Scratch* zeros) const;
  Beside make_beside(const Variable& variable, int64_t begin, Scratch* zeros) const;

  const Table& table_;
  const RuleKernel& rule_;
  const Type weight_, gradient_;
  const double average_rate_, bound_;
  std::vector<Variable> variables_;
  std::vector<int64_t> offsets_ = {0};
};

}  // namespace tfopt
