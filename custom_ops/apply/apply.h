// Runs a rule over a list of variables; no TensorFlow.
#pragma once
#include <cstdint>
#include <vector>

#include "custom_ops/apply/table.h"

namespace tfopt {

// One variable of a step, with its buffers.
struct Variable {
  const void* gradient = nullptr;
  void* weight = nullptr;
  void* slots[kMostSlots] = {};
  void* average = nullptr;  // null: none is kept
  Step step = {};
};

// A whole step. Elements of all variables are numbered through, so that work divides by elements.
class TFOPT_SHARED Plan {
 public:
  // `rule` is a place in the tables.
  Plan(const Table& table, int rule, Type weight, Type gradient, double average_rate)
      : table_(table), rule_(table.rules[rule]), weight_(weight), gradient_(gradient), average_rate_(average_rate) {}

  void reserve(int variables);
  void add(const Variable& variable, int64_t size);

  int64_t size() const { return offsets_.back(); }

  // Updates elements [begin, end); ranges that do not overlap may run at the same time.
  void run(int64_t begin, int64_t end) const;

 private:
  void run_variable(const Variable& variable, int64_t begin, int64_t end) const;
  void run_tile(const Variable& variable, int64_t begin, int64_t n) const;

  const Table& table_;
  const RuleKernel& rule_;
  const Type weight_, gradient_;
  const double average_rate_;
  std::vector<Variable> variables_;
  std::vector<int64_t> offsets_ = {0};
};

}  // namespace tfopt
