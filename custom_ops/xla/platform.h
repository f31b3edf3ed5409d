// What the kernels of XLA's devices share.
#pragma once
#include "absl/strings/str_cat.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"

// Makes an XlaOpKernel the kernel of XLA's own devices, as REGISTER_XLA_OP would with TensorFlow's first
// operation and for what was loaded by then; like this the library may come later.
#define TFOPT_LOWERING(op, Kernel)                                            \
  REGISTER_KERNEL_BUILDER(Name(op).Device(::tfopt::kXlaCpu), Kernel);         \
  REGISTER_KERNEL_BUILDER(Name(op).Device("XLA_GPU_JIT"), Kernel);            \
  REGISTER_KERNEL_BUILDER(Name(op).Device("XLA_TPU_JIT"), Kernel)

namespace tfopt {

constexpr char kXlaCpu[] = "XLA_CPU_JIT";

// Whether the program will run in this process and on its CPU, where a call finds the kernels.
bool may_call(tensorflow::XlaOpKernelContext* context);

// An error that names the op.
template <class... Parts>
absl::Status refuse(const tensorflow::XlaOpKernelContext* context, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(context->op_kernel().type_string(), ": ", parts..., "."));
}

}  // namespace tfopt
