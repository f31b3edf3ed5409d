// Outputs whose memory comes from a pool, and goes back there when TensorFlow frees them.
#pragma once
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

// As `OpKernelContext::allocate_output`. Small outputs are TensorFlow's own, and all are with TFOPT_POOL=off.
absl::Status allocate_pooled(tensorflow::OpKernelContext* context, int output, const tensorflow::TensorShape& shape,
                             tensorflow::Tensor** made);

}  // namespace tfopt
