// What the op does on every device: reads its attributes, checks its inputs, locks its variables.
#pragma once
#include <vector>

#include "custom_ops/apply/table.h"
#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"
#include "custom_ops/rules/facts.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

// Where a weight and all that belongs to it lie. What there is none of is null.
struct Buffers {
  void* weight = nullptr;
  void* slots[kMostSlots] = {};
  void* average = nullptr;
  void* accumulator = nullptr;
  int64_t size = 0;
};

class FusedUpdateOp : public tensorflow::OpKernel {
 public:
  // `copy` copies a tensor on the device.
  FusedUpdateOp(tensorflow::OpKernelConstruction* context, Copy copy);

  void Compute(tensorflow::OpKernelContext* context) override;

 protected:
  using DataType = tensorflow::DataType;
  using OpKernelContext = tensorflow::OpKernelContext;
  using Tensor = tensorflow::Tensor;

  // Updates the variables, which are locked; all inputs are right but for what `find` is still to check.
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

  // Checks the variables of weight i, gives each a buffer of its own, and says where these lie. One pass over
  // the variables does it all: what is known of thousands of them would leave the cache between two.
  absl::Status find(OpKernelContext* context, const LockedVariables& variables, const Gradients& gradients, int i,
                    Buffers* buffers) const;

  const RuleFacts* rule_ = nullptr;
  std::vector<int> groups_;
  GradientInputs inputs_;
  DataType weight_;
  int count_ = 0, variables_ = 0;
  bool averaged_ = false, accumulated_ = false;

 private:
  absl::Status check_numbers(OpKernelContext* context) const;
  absl::Status check_variable(tensorflow::Var& variable, int at, const Gradients& gradients) const;

  const Copy copy_;
  int first_gradient_ = 0;
  bool bundled_ = false;
};

}  // namespace tfopt
