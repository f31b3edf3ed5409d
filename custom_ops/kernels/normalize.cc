// Normalisation on CPU: divides the work over TensorFlow's threads.
#include <cstdint>

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
// Rough time of an element, for the division of the work.
constexpr int64_t kCyclesPerElement = 2;

template <class Plan, class Run>
void share(OpKernelContext* context, const Plan& plan, const Run& run) {
  const int64_t parts = plan.parts(), elements = plan.elements_of_part();
  if (parts * elements <= kAlone) return run(0, parts);
  context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(parts, elements * kCyclesPerElement, run);
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
