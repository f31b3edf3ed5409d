// The op on CPU: checks, locks, divides the work over TensorFlow's threads.
#include <cmath>
#include <string>
#include <vector>

#include "custom_ops/apply/apply.h"
#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace tfopt {
namespace {

using tensorflow::DataType;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// Elements that a thread takes at once: long enough to hide the hand-over, short enough to share evenly.
constexpr int64_t kBlock = 1 << 16;
// How many variables ahead of the present one memory is asked for.
constexpr int kAhead = 4;

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

class FusedUpdateOp : public OpKernel {
 public:
  explicit FusedUpdateOp(OpKernelConstruction* context) : OpKernel(context) {
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
    place_ = find_rule(rule.c_str());
    OP_REQUIRES(context, place_ >= 0, refusal("(rule=", rule, "): there is no such rule."));
    rule_ = &table().rules[place_];
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

  void Compute(OpKernelContext* context) override {
    OP_REQUIRES_OK(context, check_numbers(context));
    Gradients gradients(inputs_, context, first_gradient_);
    OP_REQUIRES_OK(context, gradients.prepare());
    LockedVariables variables;
    OP_REQUIRES_OK(context, variables.acquire(context, variables_, bundled_));
    Plan plan = empty_plan(context);
    OP_REQUIRES_OK(context, fill_plan(context, variables, gradients, plan));
    run(context, plan);
  }

 private:
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

  absl::Status check_numbers(OpKernelContext* context) const {
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

  Plan empty_plan(OpKernelContext* context) const {
    return Plan(table(), place_, type_of(weight_), type_of(inputs_.type()), average_rate(context).scalar<double>()(),
                bound(context).scalar<double>()());
  }

  // One pass over the variables: what is known of thousands of them would leave the cache between two.
  absl::Status fill_plan(OpKernelContext* context, const LockedVariables& variables, const Gradients& gradients,
                         Plan& plan) const {
    const int kinds = variables_ / count_;
    plan.reserve(count_);
    for (int i = 0; i < count_; ++i) {
      void* data[1 + kMostSlots + 2];
      for (int kind = 0; kind < kinds; ++kind) {
        const int at = kind * count_ + i;
        if (i + 2 * kAhead < count_) variables.prefetch(at + 2 * kAhead);
        if (i + kAhead < count_) variables.prefetch_buffer(at + kAhead);
        TF_RETURN_IF_ERROR(check_variable(*variables[at], at, gradients));
        TF_RETURN_IF_ERROR(own_buffer(context, variables[at]));
        data[kind] = variables[at]->tensor()->data();
      }
      plan.add(describe(context, i, data, gradients), variables[i]->tensor()->NumElements());
    }
    return absl::OkStatus();
  }

  absl::Status check_variable(tensorflow::Var& variable, int at, const Gradients& gradients) const {
    const Tensor& tensor = *variable.tensor();
    const DataType expected = at < count_ ? weight_ : compute_type(weight_);
    if (!variable.is_initialized || !tensor.IsInitialized())
      return refusal(": the variable of input ", at, " is not initialised.");
    if (tensor.dtype() != expected)
      return refusal(": the variable of input ", at, " holds ", tensorflow::DataTypeString(tensor.dtype()),
                     ", expected ", tensorflow::DataTypeString(expected), ".");
    return gradients.check_fits(at % count_, tensor.shape());
  }

  // Weight i, with the buffers of all that belongs to it.
  Variable describe(OpKernelContext* context, int i, void* const* data, const Gradients& gradients) const {
    const auto row = [this, i](const Tensor& tensor) {
      return tensor.NumElements() ? static_cast<const double*>(tensor.data()) + groups_[i] * rule_->scalars : nullptr;
    };
    Variable one;
    one.gradient = gradients.of(i);
    one.weight = *data++;
    for (int k = 0; k < rule_->slots; ++k) one.slots[k] = *data++;
    if (averaged_) one.average = *data++;
    if (accumulated_) one.gradient.accumulator = *data;
    const double* factor = static_cast<const double*>(factors(context).data());
    one.step = {row(scalars(context)), row(following(context)),
                static_cast<const double*>(keep(context).data())[groups_[i]], factor[factors(context).dims() ? i : 0]};
    return one;
  }

  static void run(OpKernelContext* context, const Plan& plan) {
    if (plan.size() <= kBlock) return plan.run(0, plan.size());
    using tensorflow::thread::ThreadPool;
    const ThreadPool::SchedulingParams blocks(ThreadPool::SchedulingStrategy::kFixedBlockSize, absl::nullopt,
                                              kBlock);
    context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
        plan.size(), blocks, [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  }

  int place_ = -1;
  const RuleKernel* rule_ = nullptr;  // of any table: what it says of the rule is the same in all
  std::vector<int> groups_;
  GradientInputs inputs_;
  DataType weight_;
  int count_ = 0, variables_ = 0, first_gradient_ = 0;
  bool averaged_ = false, accumulated_ = false, bundled_ = false;
};

REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate").Device(tensorflow::DEVICE_CPU), FusedUpdateOp);
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdateBundled").Device(tensorflow::DEVICE_CPU), FusedUpdateOp);

}  // namespace
}  // namespace tfopt
