// What kernels on a GPU ask of TensorFlow. No CUDA header: the work itself is behind custom_ops/apply/cuda/api.h.
#pragma once
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "custom_ops/apply/cuda/api.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

// The device the kernels are registered for.
extern const char* const kGpu;

// The stream that TensorFlow computes on, a cudaStream_t.
void* stream_of(tensorflow::OpKernelContext* context);

// Enqueues a copy on that stream.
absl::Status copy_on_gpu(tensorflow::OpKernelContext* context, const tensorflow::Tensor& from,
                         tensorflow::Tensor* to);

// The status for a code and a message of the C functions.
inline absl::Status as_status(int code, const char* message) {
  if (code == TFOPT_OK) return absl::OkStatus();
  const std::string text = absl::StrCat("tfopt on a GPU: ", message);
  return code == TFOPT_BAD_ARGUMENT ? absl::InvalidArgumentError(text) : absl::InternalError(text);
}

// Gradients that are rows of a variable: Python makes them dense before.
inline absl::Status refuse_rows(const tensorflow::OpKernelConstruction* context, int sparse) {
  if (!sparse) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(context->def().op(), "(sparse): on a GPU expected dense gradients, got rows of ", sparse, "."));
}

}  // namespace tfopt
