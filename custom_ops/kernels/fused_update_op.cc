#include "custom_ops/kernels/fused_update_op.h"

#include <cmath>
#include <string>

namespace tfopt {
namespace {

// How many variables ahead of the present one memory is asked for.
constexpr int kAhead = 4;

using tensorflow::DataType;
using tensorflow::OpKernelConstruction;
using tensorflow::Tensor;
using tensorflow::TensorShape;

absl::Status check_finite(const char* input, const Tensor& tensor) {
  const auto values = tensor.flat<double>();
  for (int64_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values(i)))
      return refusal("(", input, "): expected finite numbers, got ", values(i), ".");
  return absl::OkStatus();
}

absl::Status check_shape(const char* input, const Tensor& tensor, const TensorShape& expected) {
  if (tensor.shape() == expected) return absl::OkStatus();
  return refusal("(", input, "): expected shape ", expected.DebugString(), ", got ",
                         tensor.shape().DebugString(), ".");
}

}  // namespace

FusedUpdateOp::FusedUpdateOp(OpKernelConstruction* context, Copy copy) : OpKernel(context), copy_(copy) {
  std::string rule;
  int slots = 0, averages = 0, accumulators = 0;
  OP_REQUIRES_OK(context, context->GetAttr("rule", &rule));
  OP_REQUIRES_OK(context, context->GetAttr("groups", &groups_));
  OP_REQUIRES_OK(context, inputs_.configure(context));
  count_ = inputs_.count();
  OP_REQUIRES_OK(context, context->GetAttr("S", &slots));
  OP_REQUIRES_OK(context, context->GetAttr("A", &averages));
  OP_REQUIRES_OK(context, context->GetAttr("C", &accumulators));
  OP_REQUIRES_OK(context, context->GetAttr("T", &weight_));
  rule_ = find_facts(rule.c_str());
  OP_REQUIRES(context, rule_, refusal("(rule=", rule, "): there is no such rule."));
  OP_REQUIRES(context, slots == count_ * rule_->slots,
              refusal("(slots): expected ", rule_->slots, " per weight for ", rule,
                              ", got ", slots, " for ", count_, " weights."));
  OP_REQUIRES(context, averages == 0 || averages == count_,
              refusal("(averages): expected none or ", count_, ", got ", averages, "."));
  OP_REQUIRES(context, accumulators == 0 || accumulators == count_,
              refusal("(accumulators): expected none or ", count_, ", got ", accumulators, "."));
  OP_REQUIRES(context, groups_.size() == static_cast<size_t>(count_),
              refusal("(groups): expected ", count_, " rows, got ", groups_.size(), "."));
  OP_REQUIRES(context, compute_type(inputs_.type()) == compute_type(weight_),
              refusal("(gradients): expected a type that computes in the same one as the weights'."));
  averaged_ = averages > 0;
  accumulated_ = accumulators > 0;
  variables_ = count_ * (1 + rule_->slots + averaged_ + accumulated_);
  bundled_ = type_string() == "TfoptFusedUpdateBundled";
  first_gradient_ = variable_inputs(variables_, bundled_);
}

void FusedUpdateOp::Compute(OpKernelContext* context) {
  OP_REQUIRES_OK(context, check_numbers(context));
  Gradients gradients(inputs_, context, first_gradient_);
  OP_REQUIRES_OK(context, gradients.prepare());
  LockedVariables variables;
  OP_REQUIRES_OK(context, variables.acquire(context, variables_, bundled_));
  OP_REQUIRES_OK(context, update(context, variables, gradients));
}

absl::Status FusedUpdateOp::check_numbers(OpKernelContext* context) const {
  const TensorShape rank_one({keep(context).NumElements()});
  TF_RETURN_IF_ERROR(check_shape("keep", keep(context), rank_one));
  const int64_t groups = rank_one.dim_size(0);
  const TensorShape rows({groups, rule_->scalars});
  TF_RETURN_IF_ERROR(check_shape("scalars", scalars(context), rows));
  TF_RETURN_IF_ERROR(check_shape("following", following(context),
                                 rule_->looks_ahead ? rows : TensorShape({0, 0})));
  if (factors(context).dims() != 0)
    TF_RETURN_IF_ERROR(check_shape("factors", factors(context), TensorShape({count_})));
  TF_RETURN_IF_ERROR(check_shape("bound", bound(context), TensorShape({})));
  if (!(bound(context).scalar<double>()() >= 0)) return refusal("(bound): expected a number that is not negative.");
  TF_RETURN_IF_ERROR(check_shape("average_rate", average_rate(context), TensorShape({})));
  for (const int group : groups_)
    if (group < 0 || group >= groups)
      return refusal("(groups): expected rows of ", groups, ", got ", group, ".");
  TF_RETURN_IF_ERROR(check_finite("scalars", scalars(context)));
  TF_RETURN_IF_ERROR(check_finite("following", following(context)));
  TF_RETURN_IF_ERROR(check_finite("keep", keep(context)));
  return check_finite("average_rate", average_rate(context));
}

absl::Status FusedUpdateOp::find(OpKernelContext* context, const LockedVariables& variables,
                                 const Gradients& gradients, int i, Buffers* buffers) const {
  void* data[1 + kMostSlots + 2];
  const int kinds = variables_ / count_;
  for (int kind = 0; kind < kinds; ++kind) {
    const int at = kind * count_ + i;
    if (i + 2 * kAhead < count_) variables.prefetch(at + 2 * kAhead);
    if (i + kAhead < count_) variables.prefetch_buffer(at + kAhead);
    TF_RETURN_IF_ERROR(check_variable(*variables[at], at, gradients));
    TF_RETURN_IF_ERROR(own_buffer(context, variables[at], copy_));
    data[kind] = variables[at]->tensor()->data();
  }
  void* const* next = data;
  buffers->weight = *next++;
  for (int k = 0; k < rule_->slots; ++k) buffers->slots[k] = *next++;
  if (averaged_) buffers->average = *next++;
  if (accumulated_) buffers->accumulator = *next;
  buffers->size = variables[i]->tensor()->NumElements();
  return absl::OkStatus();
}

absl::Status FusedUpdateOp::check_variable(tensorflow::Var& variable, int at, const Gradients& gradients) const {
  const Tensor& tensor = *variable.tensor();
  const DataType expected = at < count_ ? weight_ : compute_type(weight_);
  if (!variable.is_initialized || !tensor.IsInitialized())
    return refusal(": the variable of input ", at, " is not initialised.");
  if (tensor.dtype() != expected)
    return refusal(": the variable of input ", at, " holds ", tensorflow::DataTypeString(tensor.dtype()),
                   ", expected ", tensorflow::DataTypeString(expected), ".");
  return gradients.check_fits(at % count_, tensor.shape());
}

}  // namespace tfopt
