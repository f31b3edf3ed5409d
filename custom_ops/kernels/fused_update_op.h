// What the op does on every device: reads its attributes, checks its inputs, locks its variables.
#pragma once
#include <vector>

#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"
#include "custom_ops/rules/facts.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

class FusedUpdateOp : public tensorflow::OpKernel {
 public:
  // `copy` copies a tensor on the device.
  FusedUpdateOp(tensorflow::OpKernelConstruction* context, Copy copy);

  void Compute(tensorflow::OpKernelContext* context) override;

 protected:
  using DataType = tensorflow::DataType;
  using OpKernelContext = tensorflow::OpKernelContext;
  using Tensor = tensorflow::Tensor;

  // Updates the variables, which are locked and have buffers of their own; all inputs are right.
  virtual absl::Status update(OpKernelContext* context, const LockedVariables& variables,
                              const Gradients& gradients) = 0;

  // The inputs that follow the variables and the gradients.
  const Tensor& number(OpKernelContext* context, int which) const {
    return context->input(first_gradient_ + count_ + inputs_.sparse_count() + which);
  }
  const Tensor& scalars(OpKernelContext* context) const { return number(context, 0); }
  const Tensor& following(OpKernelContext* context) const { return number(context, 1); }
  const Tensor& keep(OpKernelContext* context) const { return number(context, 2); }
  const Tensor& factors(OpKernelContext* context) const { return number(context, 3); }
  const Tensor& bound(OpKernelContext* context) const { return number(context, 4); }
  const Tensor& average_rate(OpKernelContext* context) const { return number(context, 5); }

  // The buffers of weight i. What there is none of is null.
  void* weight(const LockedVariables& variables, int i) const { return variables[i]->tensor()->data(); }
  void* slot(const LockedVariables& variables, int k, int i) const { return weight(variables, (k + 1) * count_ + i); }
  void* average(const LockedVariables& variables, int i) const {
    return averaged_ ? weight(variables, (rule_->slots + 1) * count_ + i) : nullptr;
  }
  void* accumulator(const LockedVariables& variables, int i) const {
    return accumulated_ ? weight(variables, variables_ - count_ + i) : nullptr;
  }

  const RuleFacts* rule_ = nullptr;
  std::vector<int> groups_;
  GradientInputs inputs_;
  DataType weight_;
  int count_ = 0, variables_ = 0;
  bool averaged_ = false, accumulated_ = false;

 private:
  absl::Status check_numbers(OpKernelContext* context) const;
  absl::Status check_variables(const LockedVariables& variables, const Gradients& gradients) const;

  const Copy copy_;
  int first_gradient_ = 0;
  bool bundled_ = false;
};

}  // namespace tfopt
