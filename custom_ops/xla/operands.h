// The update inside what XLA compiles: what the op has read of its inputs, and the two ways to compute it.
#pragma once
#include <string>
#include <vector>

#include "xla/hlo/builder/xla_builder.h"
#include "xla/xla_data.pb.h"

namespace tfopt {

// The op's inputs as expressions, of shapes that fit one another.
struct Operands {
  std::string rule;
  std::vector<int> groups;             // row of `scalars`, `following` and `keep`, per weight
  int slots = 0;                       // of the rule
  bool averaged = false, accumulated = false;
  xla::PrimitiveType narrow, wide;     // of the weights, and of all that is computed
  std::vector<xla::XlaOp> variables;   // weights; slots, one after the other; averages; accumulators
  std::vector<xla::XlaOp> gradients;
  xla::XlaOp scalars, following, keep, factors, bound, average_rate;
  bool one_factor = true;  // `factors` is a scalar

  int count() const { return static_cast<int>(groups.size()); }
};

// What the lowering must know of a rule.
struct RuleFacts {
  int slots, scalars;
  bool looks_ahead;
};

// Null if there is no such rule.
const RuleFacts* find_facts(const std::string& rule);

// New values of all variables, as operations of XLA: for every platform.
std::vector<xla::XlaOp> update_by_operations(const Operands& operands);

// The same as calls of this library's kernels, in place.
std::vector<xla::XlaOp> update_by_calls(const Operands& operands);

// Two results: the norm of all gradients, and a vector with the norm of each; accumulators are added first.
std::vector<xla::XlaOp> norms_by_call(const std::vector<xla::XlaOp>& accumulators,
                                      const std::vector<xla::XlaOp>& gradients);

// The products of rows, vectors or matrices, with vectors, [rows, vectors]; `count` rows in all.
xla::XlaOp products_by_call(const std::vector<xla::XlaOp>& rows, const std::vector<xla::XlaOp>& vectors, int64_t count);

// The sum of rows times factors.
xla::XlaOp combination_by_call(const std::vector<xla::XlaOp>& rows, xla::XlaOp factors, xla::PrimitiveType type,
                               int64_t length);

}  // namespace tfopt
