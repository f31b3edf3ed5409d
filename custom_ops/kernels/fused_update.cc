// The op on CPU: divides the work over TensorFlow's threads.
#include "custom_ops/kernels/fused_update_op.h"

#include <algorithm>

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
    Plan plan(table(), static_cast<int>(rule_ - kRuleFacts), type_of(weight_), type_of(inputs_.type()),
              average_rate(context).scalar<double>()(), bound(context).scalar<double>()());
    plan.reserve(count_);
    for (int i = 0; i < count_; ++i) {
      Buffers buffers;
      TF_RETURN_IF_ERROR(find(context, variables, gradients, i, &buffers));
      plan.add(describe(context, i, buffers, gradients), buffers.size);
    }
    run(context, plan);
    return absl::OkStatus();
  }

  Variable describe(OpKernelContext* context, int i, const Buffers& buffers, const Gradients& gradients) const {
    const auto row = [this, i](const Tensor& tensor) {
      return tensor.NumElements() ? static_cast<const double*>(tensor.data()) + groups_[i] * rule_->scalars : nullptr;
    };
    Variable one;
    one.gradient = gradients.of(i);
    one.gradient.accumulator = buffers.accumulator;
    one.weight = buffers.weight;
    std::copy(buffers.slots, buffers.slots + rule_->slots, one.slots);
    one.average = buffers.average;
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
};

REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate").Device(tensorflow::DEVICE_CPU), FusedUpdateOnCpu);
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdateBundled").Device(tensorflow::DEVICE_CPU), FusedUpdateOnCpu);

}  // namespace
}  // namespace tfopt
