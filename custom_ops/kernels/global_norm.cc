// The norms on CPU: checks, locks the accumulators, divides the work over TensorFlow's threads.
#include "absl/strings/str_cat.h"
#include "custom_ops/apply/norm.h"
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

// Fewer elements are not worth the hand-over to another thread.
constexpr int64_t kAlone = 1 << 16;
// Rough time of an element, for the division of the work.
constexpr int64_t kCyclesPerElement = 1;

template <class... Parts>
absl::Status refuse(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("TfoptGlobalNorm", parts...));
}

class GlobalNormOp : public OpKernel {
 public:
  explicit GlobalNormOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, inputs_.configure(context));
    OP_REQUIRES_OK(context, context->GetAttr("C", &accumulators_));
    OP_REQUIRES(context, accumulators_ == 0 || accumulators_ == inputs_.count(),
                refuse("(accumulators): expected none or ", inputs_.count(), ", got ", accumulators_, "."));
  }

  void Compute(OpKernelContext* context) override {
    Gradients gradients(inputs_, context, accumulators_);
    OP_REQUIRES_OK(context, gradients.prepare());
    LockedVariables accumulators;
    OP_REQUIRES_OK(context, accumulators.acquire(context, accumulators_));
    OP_REQUIRES_OK(context, check(accumulators, gradients));
    std::vector<Rows> compact;
    NormPlan plan = make_plan(accumulators, gradients, compact);
    run(context, plan);
    OP_REQUIRES_OK(context, give(context, plan));
  }

 private:
  absl::Status check(const LockedVariables& accumulators, const Gradients& gradients) const {
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

  // `compact` keeps what the plan points to.
  NormPlan make_plan(const LockedVariables& accumulators, const Gradients& gradients,
                     std::vector<Rows>& compact) const {
    NormPlan plan(table(), type_of(inputs_.type()));
    compact.reserve(inputs_.count());
    for (int i = 0; i < inputs_.count(); ++i) {
      Gradient one = gradients.of(i);
      int64_t size = gradients.values(i).NumElements();
      if (accumulators_) {
        one.accumulator = accumulators[i]->tensor()->data();
        size = accumulators[i]->tensor()->NumElements();
      } else if (one.rows) {
        compact.push_back(one.rows->compact());
        one.rows = &compact.back();
        size = one.rows->rows() * one.rows->length();
      }
      plan.add(one, size);
    }
    return plan;
  }

  static void run(OpKernelContext* context, NormPlan& plan) {
    if (plan.elements() <= kAlone) return plan.run(0, plan.blocks());
    context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
        plan.blocks(), kCyclesPerElement * plan.elements() / plan.blocks(),
        [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  }

  absl::Status give(OpKernelContext* context, const NormPlan& plan) const {
    Tensor *all = nullptr, *each = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({}), &all));
    TF_RETURN_IF_ERROR(context->allocate_output(1, TensorShape({inputs_.count()}), &each));
    all->scalar<double>()() = plan.global_norm();
    for (int i = 0; i < inputs_.count(); ++i) each->vec<double>()(i) = plan.norm(i);
    return absl::OkStatus();
  }

  GradientInputs inputs_;
  int accumulators_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("TfoptGlobalNorm").Device(tensorflow::DEVICE_CPU), GlobalNormOp);

}  // namespace
}  // namespace tfopt
