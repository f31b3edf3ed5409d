#include "custom_ops/xla/normalize_buffers.h"

namespace tfopt {

using xla::ffi::AnyBuffer;
using xla::ffi::Error;

Error NormalizeCall::check_counts(size_t operands) const {
  if (buffers_.operands.size() == operands && buffers_.results.size() == 3) return Error::Success();
  return refused_call(target_, "expected ", operands, " operands and 3 results, got ", buffers_.operands.size(), " and ",
                      buffers_.results.size());
}

Error NormalizeCall::check_geometry(int x, int gamma) {
  const auto shape = buffers_.operands[x].dimensions();
  type_ = type_of(buffers_.operands[x]);
  if (shape.size() != 4 || type_ == kTypes || type_ == kDouble)
    return refused_call(target_, "x has 4 axes, and is float32, float16 or bfloat16");
  const int64_t parameters = buffers_.operands[gamma].element_count();
  geometry_ = {shape[0], shape[1], shape[2], shape[3], parameters, run_};
  if (const char* reason = geometry_.refused()) return refused_call(target_, reason);
  if (!(epsilon_ >= 0)) return refused_call(target_, "epsilon is at least 0");
  return floats(buffers_.operands[gamma], parameters) ? Error::Success()
                                                      : refused_call(target_, "gamma is of float32");
}

bool NormalizeCall::like_x(const AnyBuffer& one) const {
  const auto shape = one.dimensions();
  return type_of(one) == type_ && shape.size() == 4 && shape[0] == geometry_.outer && shape[1] == geometry_.inner &&
         shape[2] == geometry_.groups && shape[3] == geometry_.width;
}

bool NormalizeCall::floats(const AnyBuffer& one, int64_t count) {
  return type_of(one) == kFloat && static_cast<int64_t>(one.element_count()) == count;
}

Error NormalizeCall::check_forward() {
  if (Error error = check_counts(3); error.failure()) return error;
  if (Error error = check_geometry(0, 1); error.failure()) return error;
  const auto &from = buffers_.operands, &to = buffers_.results;
  if (!floats(from[2], geometry_.parameters)) return refused_call(target_, "beta is not like gamma");
  if (!like_x(to[0])) return refused_call(target_, "the first result is not like x");
  if (!floats(to[1], geometry_.statistics()) || !floats(to[2], geometry_.statistics()))
    return refused_call(target_, "mean and variance are float32, one for each group");
  return Error::Success();
}

Error NormalizeCall::check_backward() {
  if (Error error = check_counts(5); error.failure()) return error;
  if (Error error = check_geometry(1, 2); error.failure()) return error;
  const auto &from = buffers_.operands, &to = buffers_.results;
  if (!like_x(from[0]) || !like_x(to[0])) return refused_call(target_, "the gradients are not like x");
  if (!floats(from[3], geometry_.statistics()) || !floats(from[4], geometry_.statistics()))
    return refused_call(target_, "mean and variance are float32, one for each group");
  if (!floats(to[1], geometry_.parameters) || !floats(to[2], geometry_.parameters))
    return refused_call(target_, "the gradients of gamma and beta are not like gamma");
  return Error::Success();
}

NormalizePlan NormalizeCall::forward() const {
  return {table(), geometry_, {type_, buffers_.operands[0].untyped_data(), numbers(1), numbers(2), epsilon_},
          {buffers_.results[0].untyped_data(), found(1), found(2)}};
}

NormalizeBackwardPlan NormalizeCall::backward() const {
  return {table(),
          geometry_,
          {type_, buffers_.operands[1].untyped_data(), buffers_.operands[0].untyped_data(), numbers(2), numbers(3),
           numbers(4), epsilon_},
          {buffers_.results[0].untyped_data(), found(1), found(2)}};
}

}  // namespace tfopt
