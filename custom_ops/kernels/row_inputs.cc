#include "custom_ops/kernels/row_inputs.h"

#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"

namespace tfopt {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

// The value of a locked variable, in a buffer that nobody writes to while this is held: the variable's own, as who
// writes to it finds that it is shared and takes another. Once rows were scattered into a variable, it is written
// where it lies, and who reads it takes a copy.
absl::Status stable_value(OpKernelContext* context, tensorflow::Var& variable, Tensor* value) {
  *value = *variable.tensor();
  if (!variable.copy_on_read_mode.load()) return absl::OkStatus();
  Tensor copy;
  TF_RETURN_IF_ERROR(context->allocate_temp(value->dtype(), value->shape(), &copy));
  TF_RETURN_IF_ERROR(copy_on_cpu(context, *value, &copy));
  *value = copy;
  return absl::OkStatus();
}

}  // namespace

absl::Status RowInputs::configure(tensorflow::OpKernelConstruction* context, int between) {
  between_ = between;
  TF_RETURN_IF_ERROR(context->GetAttr("V", &variables_));
  TF_RETURN_IF_ERROR(context->GetAttr("R", &tensors_));
  TF_RETURN_IF_ERROR(context->GetAttr("T", &dtype_));
  type_ = type_of(dtype_);
  return absl::OkStatus();
}

absl::Status HeldRows::read(const RowInputs& inputs, OpKernelContext* context) {
  rows_.type = inputs.type_;
  for (int i = 0; i < inputs.variables_; ++i) {
    tensorflow::core::RefCountPtr<tensorflow::Var> variable;
    const auto status = look_up(context, i, &variable);
    if (!status.ok()) return refused(context, "input ", i, " is no initialised variable: ", status.message());
    // Scattering into a variable shares the lock with others that do.
    tensorflow::mutex_lock lock(*variable->mu());
    if (!variable->is_initialized || !variable->tensor()->IsInitialized())
      return refused(context, "the variable of input ", i, " is not initialised.");
    Tensor value;
    TF_RETURN_IF_ERROR(stable_value(context, *variable, &value));
    TF_RETURN_IF_ERROR(add(inputs, context, i, value));
  }
  for (int i = inputs.variables_ + inputs.between_; i < inputs.end(); ++i)
    TF_RETURN_IF_ERROR(add(inputs, context, i, context->input(i)));
  return rows_.count() > 0 ? absl::OkStatus() : refused(context, "expected at least one row.");
}

absl::Status HeldRows::add(const RowInputs& inputs, OpKernelContext* context, int i, const Tensor& tensor) {
  const auto& shape = tensor.shape();
  if (tensor.dtype() != inputs.dtype_)
    return refused(context, "input ", i, " holds ", tensorflow::DataTypeString(tensor.dtype()), ", expected ",
                   tensorflow::DataTypeString(inputs.dtype_), ".");
  if (shape.dims() < 1 || shape.dims() > 2)
    return refused(context, "input ", i, " has shape ", shape.DebugString(), ", expected a vector or a matrix.");
  const int64_t length = shape.dim_size(shape.dims() - 1);
  if (held_.empty()) rows_.size = length;
  if (length != rows_.size || length == 0)
    return refused(context, "input ", i, " has rows of ", length, " elements, expected ",
                   rows_.size ? absl::StrCat(rows_.size) : "at least one", ".");
  held_.push_back(tensor);
  rows_.add(tensor.data(), shape.dims() == 1 ? 1 : shape.dim_size(0));
  return absl::OkStatus();
}

}  // namespace tfopt
