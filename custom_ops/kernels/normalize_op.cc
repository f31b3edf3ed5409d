#include "custom_ops/kernels/normalize_op.h"

#include "absl/strings/str_cat.h"
#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"

namespace tfopt {
namespace {

using tensorflow::Tensor;
using tensorflow::TensorShape;

float* floats(Tensor* tensor) { return tensor->flat<float>().data(); }
const float* floats(const Tensor& tensor) { return tensor.flat<float>().data(); }

}  // namespace

NormalizationOp::NormalizationOp(OpKernelConstruction* context) : OpKernel(context) {
  OP_REQUIRES_OK(context, context->GetAttr("run", &run_));
  OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
  OP_REQUIRES(context, epsilon_ >= 0,
              absl::InvalidArgumentError(absl::StrCat(type_string(), "(epsilon): expected at least 0, got ", epsilon_)));
}

absl::Status NormalizationOp::measure(OpKernelContext* context, int gamma, Geometry* geometry) const {
  const Tensor &x = context->input(0), &numbers = context->input(gamma);
  if (x.dims() != 4) return refused(context, "(x): expected 4 axes, got shape ", x.shape().DebugString(), ".");
  if (numbers.dims() != 1)
    return refused(context, "(gamma): expected a vector, got shape ", numbers.shape().DebugString(), ".");
  *geometry = {x.dim_size(0), x.dim_size(1), x.dim_size(2), x.dim_size(3), numbers.dim_size(0), run_};
  const char* reason = geometry->refused();
  return reason ? refused(context, ": ", numbers.dim_size(0), " parameters in runs of ", run_, " for x of shape ",
                          x.shape().DebugString(), ": ", reason, ".")
                : absl::OkStatus();
}

absl::Status NormalizationOp::require_shape(OpKernelContext* context, int input, const char* name,
                                            const TensorShape& shape) {
  if (context->input(input).shape() == shape) return absl::OkStatus();
  return refused(context, "(", name, "): expected shape ", shape.DebugString(), ", got ",
                 context->input(input).shape().DebugString(), ".");
}

absl::Status NormalizationOp::allocate(OpKernelContext* context, int output, const TensorShape& shape,
                                       Tensor** made) const {
  return context->allocate_output(output, shape, made);
}

void NormalizeOp::Compute(OpKernelContext* context) {
  Geometry geometry;
  OP_REQUIRES_OK(context, measure(context, 1, &geometry));
  OP_REQUIRES_OK(context, require_shape(context, 2, "beta", context->input(1).shape()));
  const TensorShape groups({geometry.outer, geometry.groups});
  Tensor *y = nullptr, *mean = nullptr, *variance = nullptr;
  OP_REQUIRES_OK(context, allocate(context, 0, context->input(0).shape(), &y));
  OP_REQUIRES_OK(context, context->allocate_output(1, groups, &mean));
  OP_REQUIRES_OK(context, context->allocate_output(2, groups, &variance));
  const Given given = {type_of(context->input(0).dtype()), context->input(0).data(), floats(context->input(1)),
                       floats(context->input(2))};
  OP_REQUIRES_OK(context, run(context, geometry, given, {y->data(), floats(mean), floats(variance)}));
}

void NormalizeBackwardOp::Compute(OpKernelContext* context) {
  Geometry geometry;
  OP_REQUIRES_OK(context, measure(context, 2, &geometry));
  const TensorShape groups({geometry.outer, geometry.groups});
  OP_REQUIRES_OK(context, require_shape(context, 1, "upstream", context->input(0).shape()));
  OP_REQUIRES_OK(context, require_shape(context, 3, "mean", groups));
  OP_REQUIRES_OK(context, require_shape(context, 4, "variance", groups));
  // Where ∇y lies if nobody else needs it, which leaves the caches to less memory.
  Tensor *by_x = nullptr, *by_gamma = nullptr, *by_beta = nullptr;
  const void* upstream = context->input(1).data();
  if (!context->forward_input_to_output_with_shape(1, 0, context->input(0).shape(), &by_x))
    OP_REQUIRES_OK(context, allocate(context, 0, context->input(0).shape(), &by_x));
  OP_REQUIRES_OK(context, context->allocate_output(1, context->input(2).shape(), &by_gamma));
  OP_REQUIRES_OK(context, context->allocate_output(2, context->input(2).shape(), &by_beta));
  const Given given = {type_of(context->input(0).dtype()), context->input(0).data(), upstream,
                       floats(context->input(2)),          floats(context->input(3)), floats(context->input(4))};
  OP_REQUIRES_OK(context, run(context, geometry, given, {by_x->data(), floats(by_gamma), floats(by_beta)}));
}

}  // namespace tfopt
