#include "custom_ops/kernels/resources.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace tfopt {
namespace {

// How many variables ahead of the present one memory is asked for.
constexpr size_t kAhead = 8;

constexpr uintptr_t kHugePage = 1 << 21;

// Of memory that nothing was written to yet. An update that waits for memory alone runs a tenth faster there.
void ask_for_huge_pages(void* buffer, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(buffer) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(buffer) + bytes) / kHugePage * kHugePage;
  // A machine that refuses has its reasons.
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace

absl::Status Bundle::find(tensorflow::OpKernelContext* context, int count) {
  variables_.resize(count);
  locks_.resize(count);
  for (int i = 0; i < count; ++i) {
    const auto status = look_up(context, i, &variables_[i]);
    if (!status.ok())
      return refused(context, "input ", i, " is no initialised variable: ", status.message());
    locks_[i] = variables_[i]->mu();
  }
  std::sort(locks_.begin(), locks_.end());
  if (std::adjacent_find(locks_.begin(), locks_.end()) != locks_.end())
    return refused(context, "a variable is listed twice.");
  return absl::OkStatus();
}

LockedVariables::~LockedVariables() {
  if (!locked_) return;
  for (tensorflow::mutex* one : bundle_->locks()) one->unlock();
}

absl::Status LockedVariables::acquire(tensorflow::OpKernelContext* context, int count, bool bundled) {
  if (!bundled) {
    bundle_.reset(new Bundle);
    TF_RETURN_IF_ERROR(bundle_->find(context, count));
  } else {
    const auto status = look_up(context, 0, &bundle_);
    if (!status.ok()) return refused(context, "(bundle): expected a bundle of variables: ", status.message());
    if (bundle_->size() != count)
      return refused(context, "(bundle): expected ", count, " variables, got ", bundle_->size(), ".");
  }
  const auto& locks = bundle_->locks();
  for (size_t k = 0; k < locks.size(); ++k) {
    if (k + kAhead < locks.size()) __builtin_prefetch(locks[k + kAhead], 1);
    locks[k]->lock();
  }
  locked_ = true;
  return absl::OkStatus();
}

absl::Status copy_on_cpu(tensorflow::OpKernelContext*, const tensorflow::Tensor& from, tensorflow::Tensor* to) {
  ask_for_huge_pages(to->data(), to->TotalBytes());
  std::memcpy(to->data(), from.data(), from.TotalBytes());
  return absl::OkStatus();
}

absl::Status own_buffer(tensorflow::OpKernelContext* context, tensorflow::Var* variable, Copy copy) {
  const tensorflow::Tensor& tensor = *variable->tensor();
  // A tensor of no elements has no buffer, hence no count. Where a variable is in copy-on-read mode, as every
  // embedding is once rows of it were gathered, nobody shares its buffer, so it is updated in place too.
  if (tensor.RefCountIsOne() || tensor.NumElements() == 0) return absl::OkStatus();
  return new_buffer(context, variable, copy);
}

absl::Status new_buffer(tensorflow::OpKernelContext* context, tensorflow::Var* variable, Copy copy) {
  tensorflow::Tensor* tensor = variable->tensor();
  tensorflow::AllocatorAttributes attributes;
  attributes.set_gpu_compatible(true);
  attributes.set_nic_compatible(true);
  tensorflow::Tensor own;
  TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(), &own, attributes));
  TF_RETURN_IF_ERROR(copy(context, *tensor, &own));
  *tensor = own;
  return absl::OkStatus();
}

}  // namespace tfopt
