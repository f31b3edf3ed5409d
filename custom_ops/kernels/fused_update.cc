// The op on CPU: divides the work over TensorFlow's threads.
#include "custom_ops/kernels/fused_update_op.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "custom_ops/apply/apply.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace tfopt {
namespace {

// Elements that a thread takes at once: long enough to hide the hand-over, short enough to share evenly.
constexpr int64_t kBlock = 1 << 16;
// The same of variables to look up.
constexpr int64_t kVariables = 256;

class FusedUpdateOnCpu : public FusedUpdateOp {
 public:
  explicit FusedUpdateOnCpu(tensorflow::OpKernelConstruction* context) : FusedUpdateOp(context, copy_on_cpu) {}

 private:
  absl::Status update(OpKernelContext* context, const LockedVariables& variables,
                      const Gradients& gradients) override {
    Plan plan(table(), static_cast<int>(rule_ - kRuleFacts), type_of(weight_), type_of(inputs_.type()),
              average_rate(context).scalar<double>()(), bound(context).scalar<double>()());
    std::vector<Variable> found(count_);
    std::vector<int64_t> sizes(count_);
    TF_RETURN_IF_ERROR(find_all(context, variables, gradients, found.data(), sizes.data()));
    plan.reserve(count_);
    for (int i = 0; i < count_; ++i) plan.add(found[i], sizes[i]);
    run(context, plan);
    return absl::OkStatus();
  }

  // What there is to know of each variable lies scattered over memory, so that all threads wait for it together.
  absl::Status find_all(OpKernelContext* context, const LockedVariables& variables, const Gradients& gradients,
                        Variable* found, int64_t* sizes) const {
    absl::Status first_refused;
    int refused_at = count_;
    tensorflow::mutex lock;
    const auto find_some = [&](int64_t begin, int64_t end) {
      for (int i = static_cast<int>(begin); i < end; ++i) {
        Buffers buffers;
        const absl::Status status = find(context, variables, gradients, i, &buffers);
        if (!status.ok()) {
          const tensorflow::mutex_lock alone(lock);
          if (i < refused_at) refused_at = i, first_refused = status;
          return;
        }
        found[i] = describe(context, i, buffers, gradients);
        sizes[i] = buffers.size;
      }
    };
    in_blocks(context, count_, kVariables, find_some);
    return first_refused;
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
    in_blocks(context, plan.size(), kBlock, [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  }

  static void in_blocks(OpKernelContext* context, int64_t size, int64_t block,
                        const std::function<void(int64_t, int64_t)>& work) {
    if (size <= block) return work(0, size);
    using tensorflow::thread::ThreadPool;
    const ThreadPool::SchedulingParams blocks(ThreadPool::SchedulingStrategy::kFixedBlockSize, absl::nullopt, block);
    context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(size, blocks, work);
  }
};

REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate").Device(tensorflow::DEVICE_CPU), FusedUpdateOnCpu);
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdateBundled").Device(tensorflow::DEVICE_CPU), FusedUpdateOnCpu);

}  // namespace
}  // namespace tfopt
