// The vocabulary of custom_ops/rules/element.h for expressions of XLA. Goes before the rules, which then find
// these in place of the templates.
#pragma once
#include "custom_ops/rules/element.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tfopt {

inline xla::XlaOp root(xla::XlaOp x) { return xla::Sqrt(x); }

inline xla::XlaOp larger(xla::XlaOp old, xla::XlaOp newer) { return xla::Max(old, newer); }

inline xla::XlaOp positive_part(xla::XlaOp x) { return xla::Max(x, xla::ScalarLike(x, 0)); }

inline xla::XlaOp by_sign(xla::XlaOp x, xla::XlaOp positive, xla::XlaOp zero, xla::XlaOp negative) {
  const xla::XlaOp origin = xla::ZerosLike(x);
  return xla::Select(xla::Gt(x, origin), positive, xla::Select(xla::Lt(x, origin), negative, zero));
}

inline xla::XlaOp toward(xla::XlaOp mean, xla::XlaOp x, xla::XlaOp weight) {
  const xla::XlaOp fast = xla::Gt(weight, xla::ScalarLike(weight, 0.5));
  return xla::Select(fast, x + (mean - x) * (xla::ScalarLike(weight, 1) - weight), mean + (x - mean) * weight);
}

}  // namespace tfopt
