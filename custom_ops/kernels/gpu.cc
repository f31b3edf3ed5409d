#include "custom_ops/kernels/gpu.h"

#include "xla/stream_executor/stream.h"

namespace tfopt {

// A literal: TensorFlow's own constant may not be there yet when kernels are registered.
const char* const kGpu = "GPU";

void* stream_of(tensorflow::OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}

absl::Status copy_on_gpu(tensorflow::OpKernelContext* context, const tensorflow::Tensor& from,
                         tensorflow::Tensor* to) {
  using stream_executor::DeviceAddressBase;
  const uint64_t bytes = from.TotalBytes();
  DeviceAddressBase target(to->data(), bytes);
  return context->op_device_context()->stream()->Memcpy(&target, DeviceAddressBase(from.data(), bytes), bytes);
}

}  // namespace tfopt
