#include "custom_ops/kernels/global_norm_op.h"

#include "absl/strings/str_cat.h"

namespace tfopt {
namespace {

using tensorflow::DataType;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;

template <class... Parts>
absl::Status refuse(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("TfoptGlobalNorm", parts...));
}

}  // namespace

GlobalNormOp::GlobalNormOp(OpKernelConstruction* context) : OpKernel(context) {
  OP_REQUIRES_OK(context, inputs_.configure(context));
  OP_REQUIRES_OK(context, context->GetAttr("C", &accumulators_));
  OP_REQUIRES(context, accumulators_ == 0 || accumulators_ == inputs_.count(),
              refuse("(accumulators): expected none or ", inputs_.count(), ", got ", accumulators_, "."));
  bundled_ = type_string() == "TfoptGlobalNormBundled";
}

void GlobalNormOp::Compute(OpKernelContext* context) {
  Gradients gradients(inputs_, context, variable_inputs(accumulators_, bundled_));
  OP_REQUIRES_OK(context, gradients.prepare());
  LockedVariables accumulators;
  OP_REQUIRES_OK(context, accumulators.acquire(context, accumulators_, bundled_));
  OP_REQUIRES_OK(context, check(accumulators, gradients));
  Tensor *all = nullptr, *each = nullptr;
  OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({}), &all));
  OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({inputs_.count()}), &each));
  OP_REQUIRES_OK(context, measure(context, accumulators, gradients, all, each));
}

absl::Status GlobalNormOp::check(const LockedVariables& accumulators, const Gradients& gradients) const {
  const DataType expected = compute_type(inputs_.type());
  for (int i = 0; i < accumulators_; ++i) {
    const Tensor& tensor = *accumulators[i]->tensor();
    if (!accumulators[i]->is_initialized || !tensor.IsInitialized())
      return refuse(": the variable of input ", i, " is not initialised.");
    if (tensor.dtype() != expected)
      return refuse(": the variable of input ", i, " holds ", tensorflow::DataTypeString(tensor.dtype()),
                    ", expected ", tensorflow::DataTypeString(expected), ".");
    TF_RETURN_IF_ERROR(gradients.check_fits(i, tensor.shape()));
  }
  return absl::OkStatus();
}

}  // namespace tfopt
