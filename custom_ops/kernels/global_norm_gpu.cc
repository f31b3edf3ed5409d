// The norms on NVIDIA GPUs: hands the gradients to the CUDA kernels.
#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/kernels/global_norm_op.h"
#include "custom_ops/kernels/gpu.h"

namespace tfopt {
namespace {

class GlobalNormOnGpu : public GlobalNormOp {
 public:
  explicit GlobalNormOnGpu(tensorflow::OpKernelConstruction* context) : GlobalNormOp(context) {
    if (context->status().ok()) OP_REQUIRES_OK(context, refuse_rows(context, inputs_.sparse_count()));
  }

 private:
  absl::Status measure(OpKernelContext* context, const LockedVariables& accumulators, const Gradients& gradients,
                       Tensor* all, Tensor* each) override {
    std::vector<tfopt_values> values(inputs_.count());
    for (int i = 0; i < inputs_.count(); ++i)
      values[i] = {gradients.values(i).data(), accumulators_ ? accumulators[i]->tensor()->data() : nullptr,
                   gradients.values(i).NumElements()};
    tfopt_norms norms = {};
    norms.type = type_of(inputs_.type());
    norms.count = inputs_.count();
    norms.values = values.data();
    norms.workspace_size = tfopt_cuda_norms_workspace(values.data(), norms.count);
    Tensor workspace;
    TF_RETURN_IF_ERROR(context->allocate_temp(tensorflow::DT_DOUBLE,
                                              tensorflow::TensorShape({norms.workspace_size}), &workspace));
    norms.workspace = static_cast<double*>(workspace.data());
    norms.norm = static_cast<double*>(all->data());
    norms.each = static_cast<double*>(each->data());
    char message[256];
    return as_status(tfopt_cuda_norms(&norms, stream_of(context), message, sizeof message), message);
  }
};

REGISTER_KERNEL_BUILDER(
    Name("TfoptGlobalNorm").Device(kGpu).HostMemory("accumulators").HostMemory("rows"),
    GlobalNormOnGpu);

}  // namespace
}  // namespace tfopt
