// Normalisation on NVIDIA GPUs: hands the tensors to the CUDA kernels.
#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/kernels/gpu.h"
#include "custom_ops/kernels/normalize_op.h"

namespace tfopt {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

tfopt_geometry plain(const Geometry& is) {
  return {is.outer, is.inner, is.groups, is.width, is.parameters, is.run};
}

// Calls enqueue(memory for sums, its size in doubles, message, its size), one of the C functions.
template <class Enqueue>
absl::Status run_on_gpu(OpKernelContext* context, int64_t workspace_size, Enqueue enqueue) {
  Tensor workspace;
  TF_RETURN_IF_ERROR(context->allocate_temp(tensorflow::DT_DOUBLE, tensorflow::TensorShape({workspace_size}),
                                            &workspace));
  char message[256];
  return as_status(enqueue(static_cast<double*>(workspace.data()), workspace_size, message, sizeof message), message);
}

class NormalizeOnGpu : public NormalizeOp {
 public:
  using NormalizeOp::NormalizeOp;

 private:
  absl::Status run(OpKernelContext* context, const Geometry& geometry, const Given& given,
                   const Wanted& wanted) override {
    tfopt_normalize step = {};
    step.type = given.type;
    step.geometry = plain(geometry);
    step.epsilon = epsilon_;
    step.x = given.x;
    step.gamma = given.gamma;
    step.beta = given.beta;
    step.y = wanted.y;
    step.mean = wanted.mean;
    step.variance = wanted.variance;
    return run_on_gpu(context, tfopt_cuda_normalize_workspace(&step.geometry),
                      [&](double* workspace, int64_t size, char* message, size_t length) {
                        step.workspace = workspace;
                        step.workspace_size = size;
                        return tfopt_cuda_normalize(&step, stream_of(context), message, length);
                      });
  }
};

class NormalizeBackwardOnGpu : public NormalizeBackwardOp {
 public:
  using NormalizeBackwardOp::NormalizeBackwardOp;

 private:
  absl::Status run(OpKernelContext* context, const Geometry& geometry, const Given& given,
                   const Wanted& wanted) override {
    tfopt_normalize_backward step = {};
    step.type = given.type;
    step.geometry = plain(geometry);
    step.epsilon = epsilon_;
    step.x = given.x;
    step.upstream = given.upstream;
    step.gamma = given.gamma;
    step.mean = given.mean;
    step.variance = given.variance;
    step.by_x = wanted.by_x;
    step.by_gamma = wanted.by_gamma;
    step.by_beta = wanted.by_beta;
    return run_on_gpu(context, tfopt_cuda_normalize_backward_workspace(&step.geometry),
                      [&](double* workspace, int64_t size, char* message, size_t length) {
                        step.workspace = workspace;
                        step.workspace_size = size;
                        return tfopt_cuda_normalize_backward(&step, stream_of(context), message, length);
                      });
  }
};

REGISTER_KERNEL_BUILDER(Name("TfoptNormalize").Device(kGpu), NormalizeOnGpu);
REGISTER_KERNEL_BUILDER(Name("TfoptNormalizeBackward").Device(kGpu), NormalizeBackwardOnGpu);

}  // namespace
}  // namespace tfopt
