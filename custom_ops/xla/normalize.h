// Normalisation inside what XLA compiles: what the ops have read of their inputs, and the two ways to compute it.
#pragma once
#include <vector>

#include "custom_ops/norm/layout.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tfopt {

struct NormalizeOperands {
  Geometry geometry;
  float epsilon;
  xla::PrimitiveType type;  // of x
  xla::XlaOp x, gamma;
  xla::XlaOp beta;                      // of the forward pass
  xla::XlaOp upstream, mean, variance;  // of the backward pass
};

// y, mean, variance.
std::vector<xla::XlaOp> normalize_by_operations(const NormalizeOperands& operands);
std::vector<xla::XlaOp> normalize_by_call(const NormalizeOperands& operands);

// Gradients with respect to x, γ and β.
std::vector<xla::XlaOp> normalize_backward_by_operations(const NormalizeOperands& operands);
std::vector<xla::XlaOp> normalize_backward_by_call(const NormalizeOperands& operands);

}  // namespace tfopt
