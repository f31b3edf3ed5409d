// The norms on CPU: divides the work over TensorFlow's threads.
#include "custom_ops/kernels/global_norm_op.h"

#include "custom_ops/apply/norm.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace tfopt {
namespace {

// Fewer elements are not worth the hand-over to another thread.
constexpr int64_t kAlone = 1 << 16;
// Rough time of an element, for the division of the work.
constexpr int64_t kCyclesPerElement = 1;

class GlobalNormOnCpu : public GlobalNormOp {
 public:
  using GlobalNormOp::GlobalNormOp;

 private:
  absl::Status measure(OpKernelContext* context, const LockedVariables& accumulators, const Gradients& gradients,
                       Tensor* all, Tensor* each) override {
    std::vector<Rows> compact;
    NormPlan plan = make_plan(accumulators, gradients, compact);
    run(context, plan);
    all->scalar<double>()() = plan.global_norm();
    for (int i = 0; i < inputs_.count(); ++i) each->vec<double>()(i) = plan.norm(i);
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
};

REGISTER_KERNEL_BUILDER(Name("TfoptGlobalNorm").Device(tensorflow::DEVICE_CPU), GlobalNormOnCpu);
REGISTER_KERNEL_BUILDER(Name("TfoptGlobalNormBundled").Device(tensorflow::DEVICE_CPU), GlobalNormOnCpu);

}  // namespace
}  // namespace tfopt
