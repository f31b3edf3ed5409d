// What the ops for normalisation do on every device: read their attributes, check their inputs, make their outputs.
#pragma once
#include "custom_ops/norm/layout.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

// Both passes: x lies under its statistics, and under γ, by its geometry.
class NormalizationOp : public tensorflow::OpKernel {
 public:
  explicit NormalizationOp(tensorflow::OpKernelConstruction* context);

 protected:
  using OpKernelConstruction = tensorflow::OpKernelConstruction;
  using OpKernelContext = tensorflow::OpKernelContext;
  using Tensor = tensorflow::Tensor;

  // Of x, input 0, with γ at this input.
  absl::Status measure(OpKernelContext* context, int gamma, Geometry* geometry) const;
  static absl::Status require_shape(OpKernelContext* context, int input, const char* name,
                                    const tensorflow::TensorShape& shape);
  virtual absl::Status allocate(OpKernelContext* context, int output, const tensorflow::TensorShape& shape,
                                Tensor** made) const;

  int64_t run_ = 1;
  float epsilon_ = 0;
};

class NormalizeOp : public NormalizationOp {
 public:
  using NormalizationOp::NormalizationOp;

  void Compute(OpKernelContext* context) override;

 protected:
  struct Given {
    Type type;
    const void* x;
    const float *gamma, *beta;
  };
  struct Wanted {
    void* y;
    float *mean, *variance;
  };

  virtual absl::Status run(OpKernelContext* context, const Geometry& geometry, const Given& given,
                           const Wanted& wanted) = 0;
};

class NormalizeBackwardOp : public NormalizationOp {
 public:
  using NormalizationOp::NormalizationOp;

  void Compute(OpKernelContext* context) override;

 protected:
  struct Given {
    Type type;
    const void *x, *upstream;
    const float *gamma, *mean, *variance;
  };
  // ∇x may lie where ∇y does.
  struct Wanted {
    void* by_x;
    float *by_gamma, *by_beta;
  };

  virtual absl::Status run(OpKernelContext* context, const Geometry& geometry, const Given& given,
                           const Wanted& wanted) = 0;
};

}  // namespace tfopt
