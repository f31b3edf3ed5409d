// The op on NVIDIA GPUs: hands the variables to the CUDA kernels.
#include <algorithm>

#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/kernels/fused_update_op.h"
#include "custom_ops/kernels/gpu.h"

namespace tfopt {
namespace {

class FusedUpdateOnGpu : public FusedUpdateOp {
 public:
  explicit FusedUpdateOnGpu(tensorflow::OpKernelConstruction* context) : FusedUpdateOp(context, copy_on_gpu) {
    if (context->status().ok()) OP_REQUIRES_OK(context, refuse_rows(context, inputs_.sparse_count()));
  }

 private:
  absl::Status update(OpKernelContext* context, const LockedVariables& variables,
                      const Gradients& gradients) override {
    std::vector<tfopt_tensor> tensors(count_);
    for (int i = 0; i < count_; ++i) {
      Buffers buffers;
      TF_RETURN_IF_ERROR(find(context, variables, gradients, i, &buffers));
      tensors[i] = describe(i, buffers, gradients);
    }
    tfopt_update step = {};
    step.rule = rule_->name;
    step.weight_type = type_of(weight_);
    step.gradient_type = type_of(inputs_.type());
    step.tensor_count = count_;
    step.group_count = static_cast<int32_t>(keep(context).NumElements());
    step.tensors = tensors.data();
    step.scalars = scalars(context).flat<double>().data();
    step.following = rule_->looks_ahead ? following(context).flat<double>().data() : nullptr;
    step.keep = keep(context).flat<double>().data();
    step.average_rate = average_rate(context).scalar<double>()();
    step.bound = bound(context).scalar<double>()();
    step.factors = static_cast<const double*>(factors(context).data());
    step.factor_count = static_cast<int32_t>(factors(context).NumElements());
    char message[256];
    return as_status(tfopt_cuda_update(&step, stream_of(context), message, sizeof message), message);
  }

  tfopt_tensor describe(int i, const Buffers& buffers, const Gradients& gradients) const {
    tfopt_tensor one = {};
    one.gradient = gradients.values(i).data();
    one.weight = buffers.weight;
    std::copy(buffers.slots, buffers.slots + rule_->slots, one.slots);
    one.average = buffers.average;
    one.accumulator = buffers.accumulator;
    one.size = buffers.size;
    one.factor = 1;
    one.group = groups_[i];
    return one;
  }
};

// Factors come from a norm that the GPU computes: fetched to the host, they would hold up all that follows.
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate")
                            .Device(kGpu)
                            .HostMemory("weights")
                            .HostMemory("slots")
                            .HostMemory("averages")
                            .HostMemory("accumulators")
                            .HostMemory("rows")
                            .HostMemory("scalars")
                            .HostMemory("following")
                            .HostMemory("keep")
                            .HostMemory("bound")
                            .HostMemory("average_rate"),
                        FusedUpdateOnGpu);

}  // namespace
}  // namespace tfopt
