#include "custom_ops/kernels/resources.h"

#include <algorithm>
#include <cstring>

namespace tfopt {
namespace {

template <class... Parts>
absl::Status refused(const tensorflow::OpKernelContext* context, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(context->op_kernel().type_string(), ": ", parts...));
}

}  // namespace

LockedVariables::~LockedVariables() {
  for (tensorflow::mutex* one : held_) one->unlock();
}

absl::Status LockedVariables::acquire(tensorflow::OpKernelContext* context, int count) {
  variables_.resize(count);
  std::vector<tensorflow::mutex*> locks(count);
  for (int i = 0; i < count; ++i) {
    const auto status = LookupResource(context, HandleFromInput(context, i), &variables_[i]);
    if (!status.ok())
      return refused(context, "input ", i, " is no initialised variable: ", status.message());
    locks[i] = variables_[i]->mu();
  }
  // By address: the order in which TensorFlow's own ops lock several variables.
  std::sort(locks.begin(), locks.end());
  if (std::adjacent_find(locks.begin(), locks.end()) != locks.end())
    return refused(context, "a variable is listed twice.");
  for (tensorflow::mutex* one : locks) one->lock();
  held_ = std::move(locks);
  return absl::OkStatus();
}

absl::Status own_buffer(tensorflow::OpKernelContext* context, tensorflow::Var* variable) {
  tensorflow::Tensor* tensor = variable->tensor();
  // A tensor of no elements has no buffer, hence no count. Where a variable is in copy-on-read mode, as every
  // embedding is once rows of it were gathered, nobody shares its buffer, so it is updated in place too.
  if (tensor->RefCountIsOne() || tensor->NumElements() == 0) return absl::OkStatus();
  tensorflow::AllocatorAttributes attributes;
  attributes.set_gpu_compatible(true);
  attributes.set_nic_compatible(true);
  tensorflow::Tensor copy;
  TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(), &copy, attributes));
  std::memcpy(copy.data(), tensor->data(), tensor->TotalBytes());
  *tensor = copy;
  return absl::OkStatus();
}

}  // namespace tfopt
