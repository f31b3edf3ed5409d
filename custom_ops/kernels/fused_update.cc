// The op on CPU: divides the work over TensorFlow's threads.
#include "custom_ops/kernels/fused_update_op.h"

#include "custom_ops/apply/apply.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace tfopt {
namespace {

// Elements that a thread takes at once: long enough to hide the hand-over, short enough to share evenly.
constexpr int64_t kBlock = 1 << 16;

class FusedUpdateOnCpu : public FusedUpdateOp {
 public:
  explicit FusedUpdateOnCpu(tensorflow::OpKernelConstruction* context) : FusedUpdateOp(context, copy_on_cpu) {}

 private:
  absl::Status update(OpKernelContext* context, const LockedVariables& variables,
                      const Gradients& gradients) override {
    run(context, make_plan(context, variables, gradients));
    return absl::OkStatus();
  }

  Plan make_plan(OpKernelContext* context, const LockedVariables& variables, const Gradients& gradients) const {
    const auto rows = [this](const Tensor& tensor, int i) {
      return tensor.NumElements() ? tensor.flat<double>().data() + groups_[i] * rule_->scalars : nullptr;
    };
    const auto factor = factors(context).flat<double>();
    Plan plan(table(), static_cast<int>(rule_ - kRuleFacts), type_of(weight_), type_of(inputs_.type()),
              average_rate(context).scalar<double>()(), bound(context).scalar<double>()());
    plan.reserve(count_);
    for (int i = 0; i < count_; ++i) {
      Variable one;
      one.gradient = gradients.of(i);
      one.weight = weight(variables, i);
      for (int k = 0; k < rule_->slots; ++k) one.slots[k] = slot(variables, k, i);
      one.average = average(variables, i);
      one.gradient.accumulator = accumulator(variables, i);
      one.step = {rows(scalars(context), i), rows(following(context), i),
                  keep(context).vec<double>()(groups_[i]), factor(factor.size() > 1 ? i : 0)};
      plan.add(one, variables[i]->tensor()->NumElements());
    }
    return plan;
  }

  static void run(OpKernelContext* context, const Plan& plan) {
    if (plan.size() <= kBlock) return plan.run(0, plan.size());
    using tensorflow::thread::ThreadPool;
    const ThreadPool::SchedulingParams blocks(ThreadPool::SchedulingStrategy::kFixedBlockSize, absl::nullopt,
                                              kBlock);
    context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
        plan.size(), blocks, [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  }
};

REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate").Device(tensorflow::DEVICE_CPU), FusedUpdateOnCpu);
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdateBundled").Device(tensorflow::DEVICE_CPU), FusedUpdateOnCpu);

}  // namespace
}  // namespace tfopt
