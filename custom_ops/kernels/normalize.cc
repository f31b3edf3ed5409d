// Normalisation on CPU: divides the work over TensorFlow's threads.
#include <cstdint>
#include <functional>
#include <utility>

#include "custom_ops/apply/share.h"
#include "custom_ops/kernels/normalize_op.h"
#include "custom_ops/kernels/pool_allocator.h"
#include "custom_ops/norm/backward.h"
#include "custom_ops/norm/forward.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace tfopt {
namespace {

using tensorflow::OpKernelContext;

// Fewer elements are not worth the hand-over to another thread.
constexpr int64_t kAlone = 1 << 15;

// TensorFlow's threads as `run_shared` wants them. Their own ParallelFor leaves most of the work to other threads than
// the one that calls it, and waits until they have woken, which takes as long as a pass.
class Workers {
 public:
  explicit Workers(OpKernelContext* context)
      : threads_(*context->device()->tensorflow_cpu_worker_threads()->workers) {}

  int64_t num_threads() const { return threads_.NumThreads(); }
  void Schedule(std::function<void()> work) { threads_.Schedule(std::move(work)); }

 private:
  tensorflow::thread::ThreadPool& threads_;
};

template <class Plan, class Run>
void share(OpKernelContext* context, const Plan& plan, const Run& run) {
  const int64_t parts = plan.parts();
  if (parts * plan.elements_of_part() <= kAlone) return run(0, parts);
  Workers workers(context);
  run_shared(workers, parts, 1, run);
}

template <class Plan>
absl::Status run_plan(OpKernelContext* context, Plan plan) {
  share(context, plan, [&plan](int64_t begin, int64_t end) { plan.start(begin, end); });
  plan.settle();
  if (!plan.whole()) share(context, plan, [&plan](int64_t begin, int64_t end) { plan.finish(begin, end); });
  return absl::OkStatus();
}

template <class Op>
class Pooled : public Op {
 public:
  using Op::Op;

 protected:
  absl::Status allocate(OpKernelContext* context, int output, const tensorflow::TensorShape& shape,
                        tensorflow::Tensor** made) const override {
    return allocate_pooled(context, output, shape, made);
  }
};

class NormalizeOnCpu : public Pooled<NormalizeOp> {
 public:
  using Pooled::Pooled;

 private:
  absl::Status run(OpKernelContext* context, const Geometry& geometry, const Given& given,
                   const Wanted& wanted) override {
    return run_plan(context, NormalizePlan(table(), geometry, {given.type, given.x, given.gamma, given.beta, epsilon_},
                                           {wanted.y, wanted.mean, wanted.variance}));
  }
};

class NormalizeBackwardOnCpu : public Pooled<NormalizeBackwardOp> {
 public:
  using Pooled::Pooled;

 private:
  absl::Status run(OpKernelContext* context, const Geometry& geometry, const Given& given,
                   const Wanted& wanted) override {
    return run_plan(context, NormalizeBackwardPlan(table(), geometry,
                                                   {given.type, given.x, given.upstream, given.gamma, given.mean,
                                                    given.variance, epsilon_},
                                                   {wanted.by_x, wanted.by_gamma, wanted.by_beta}));
  }
};

REGISTER_KERNEL_BUILDER(Name("TfoptNormalize").Device(tensorflow::DEVICE_CPU), NormalizeOnCpu);
REGISTER_KERNEL_BUILDER(Name("TfoptNormalizeBackward").Device(tensorflow::DEVICE_CPU), NormalizeBackwardOnCpu);

}  // namespace
}  // namespace tfopt
