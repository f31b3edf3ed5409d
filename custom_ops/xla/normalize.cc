// The ops for normalisation: their inputs are checked as the kernels check them.
#include "custom_ops/xla/normalize.h"

#include "absl/strings/str_cat.h"
#include "custom_ops/xla/platform.h"
#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"

namespace tfopt {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

class OfGroupsXla : public XlaOpKernel {
 public:
  explicit OfGroupsXla(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("run", &run_));
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES(context, epsilon_ >= 0,
                absl::InvalidArgumentError(absl::StrCat(type_string(), "(epsilon): expected at least 0, got ", epsilon_)));
  }

 protected:
  // What both passes have, γ being the input at this place.
  absl::Status read(XlaOpKernelContext* context, int gamma, NormalizeOperands* operands) const {
    const TensorShape x = context->InputShape(0), numbers = context->InputShape(gamma);
    if (x.dims() != 4 || numbers.dims() != 1) return refuse(context, "expected x of 4 axes, and gamma as a vector");
    operands->geometry = {x.dim_size(0), x.dim_size(1), x.dim_size(2), x.dim_size(3), numbers.dim_size(0), run_};
    if (const char* reason = operands->geometry.refused()) return refuse(context, reason);
    operands->epsilon = epsilon_;
    operands->x = context->Input(0);
    operands->gamma = context->Input(gamma);
    return tensorflow::DataTypeToPrimitiveType(context->input_type(0), &operands->type);
  }

 private:
  int64_t run_ = 1;
  float epsilon_ = 0;
};

class NormalizeXla : public OfGroupsXla {
 public:
  using OfGroupsXla::OfGroupsXla;

  void Compile(XlaOpKernelContext* context) override {
    NormalizeOperands operands;
    OP_REQUIRES_OK(context, read(context, 1, &operands));
    OP_REQUIRES(context, context->InputShape(2) == context->InputShape(1),
                refuse(context, "beta is not of gamma's shape"));
    operands.beta = context->Input(2);
    const auto made = may_call(context) ? normalize_by_call(operands) : normalize_by_operations(operands);
    for (size_t i = 0; i < made.size(); ++i) context->SetOutput(i, made[i]);
  }
};

class NormalizeBackwardXla : public OfGroupsXla {
 public:
  using OfGroupsXla::OfGroupsXla;

  void Compile(XlaOpKernelContext* context) override {
    NormalizeOperands operands;
    OP_REQUIRES_OK(context, read(context, 2, &operands));
    const TensorShape groups({operands.geometry.outer, operands.geometry.groups});
    OP_REQUIRES(context, context->InputShape(1) == context->InputShape(0),
                refuse(context, "the upstream gradient is not of x's shape"));
    OP_REQUIRES(context, context->InputShape(3) == groups && context->InputShape(4) == groups,
                refuse(context, "mean and variance are not one for each group"));
    operands.upstream = context->Input(1);
    operands.mean = context->Input(3);
    operands.variance = context->Input(4);
    const auto made =
        may_call(context) ? normalize_backward_by_call(operands) : normalize_backward_by_operations(operands);
    for (size_t i = 0; i < made.size(); ++i) context->SetOutput(i, made[i]);
  }
};

TFOPT_LOWERING("TfoptNormalize", NormalizeXla);
TFOPT_LOWERING("TfoptNormalizeBackward", NormalizeBackwardXla);

}  // namespace
}  // namespace tfopt
