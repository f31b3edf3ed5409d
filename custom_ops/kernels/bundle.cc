// Makes one resource of many variables.
#include "custom_ops/kernels/resources.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;

// Bytes from which on it pays to move a variable once.
constexpr size_t kLarge = 4 << 20;

class BundleOp : public OpKernel {
 public:
  explicit BundleOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("N", &count_));
  }

  void Compute(OpKernelContext* context) override {
    for (int i = 0; i < count_; ++i) OP_REQUIRES_OK(context, check_lifetime(context, i));
    // The handle counts references: what holds it, in Python or as a graph's capture, keeps the bundle.
    tensorflow::core::RefCountPtr<Bundle> bundle(new Bundle);
    OP_REQUIRES_OK(context, bundle->find(context, count_));
    for (int i = 0; i < count_; ++i) OP_REQUIRES_OK(context, move_if_large(context, (*bundle)[i]));
    Tensor* handle = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, tensorflow::TensorShape({}), &handle));
    handle->scalar<ResourceHandle>()() =
        ResourceHandle::MakeRefCountingHandle(bundle.release(), context->device()->name());
  }

 private:
  // A variable that lives by its name may be destroyed or made anew under it, which a bundle would not see.
  static absl::Status check_lifetime(OpKernelContext* context, int i) {
    const Tensor& input = context->input(i);
    if (input.NumElements() == 1 && input.flat<ResourceHandle>()(0).IsRefCounting()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("TfoptBundle: input ", i, " is no variable that lives as long as its handle."));
  }

  // TensorFlow puts what it allocates on small pages.
  static absl::Status move_if_large(OpKernelContext* context, tensorflow::Var* variable) {
    tensorflow::mutex_lock lock(*variable->mu());
    const Tensor& tensor = *variable->tensor();
    if (!variable->is_initialized || !tensor.IsInitialized()) return absl::OkStatus();
    const bool bytes = tensorflow::DataTypeCanUseMemcpy(tensor.dtype());
    return bytes && tensor.TotalBytes() >= kLarge ? new_buffer(context, variable, copy_on_cpu) : absl::OkStatus();
  }

  int count_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("TfoptBundle").Device(tensorflow::DEVICE_CPU), BundleOp);

}  // namespace
}  // namespace tfopt
