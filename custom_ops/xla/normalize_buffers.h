// What a compiled program hands to the targets for normalisation: checked, and as plans of the kernels.
#pragma once
#include "custom_ops/norm/backward.h"
#include "custom_ops/norm/forward.h"
#include "custom_ops/xla/buffers.h"

namespace tfopt {

// The forward pass, x, γ and β in, y, mean and variance out; or the backward pass, ∇y, x, γ, mean and variance in,
// ∇x, ∇γ and ∇β out.
class NormalizeCall {
 public:
  NormalizeCall(const char* target, int64_t run, float epsilon, const Buffers& buffers)
      : target_(target), run_(run), epsilon_(epsilon), buffers_(buffers) {}

  // Why it cannot be done; after success the plan may be made.
  xla::ffi::Error check_forward();
  xla::ffi::Error check_backward();

  NormalizePlan forward() const;
  NormalizeBackwardPlan backward() const;

 private:
  const float* numbers(int i) const { return static_cast<const float*>(buffers_.operands[i].untyped_data()); }
  float* found(int i) const { return static_cast<float*>(buffers_.results[i].untyped_data()); }
  xla::ffi::Error check_counts(size_t operands) const;
  xla::ffi::Error check_geometry(int x, int gamma);
  // Whether arrays are like x, or of floats and so long.
  bool like_x(const xla::ffi::AnyBuffer& one) const;
  static bool floats(const xla::ffi::AnyBuffer& one, int64_t count);

  const char* const target_;
  const int64_t run_;
  const float epsilon_;
  const Buffers& buffers_;
  Geometry geometry_ = {};
  Type type_ = kTypes;
};

}  // namespace tfopt
