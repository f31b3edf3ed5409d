// What the op for norms does on every device: reads its attributes, checks its inputs, locks the accumulators.
#pragma once
#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

class GlobalNormOp : public tensorflow::OpKernel {
 public:
  explicit GlobalNormOp(tensorflow::OpKernelConstruction* context);

  void Compute(tensorflow::OpKernelContext* context) override;

 protected:
  using OpKernelContext = tensorflow::OpKernelContext;
  using Tensor = tensorflow::Tensor;

  // Writes the norm of all gradients and of each.
  virtual absl::Status measure(OpKernelContext* context, const LockedVariables& accumulators,
                               const Gradients& gradients, Tensor* all, Tensor* each) = 0;

  GradientInputs inputs_;
  int accumulators_ = 0;

 private:
  bool bundled_ = false;

  absl::Status check(const LockedVariables& accumulators, const Gradients& gradients) const;
};

}  // namespace tfopt
