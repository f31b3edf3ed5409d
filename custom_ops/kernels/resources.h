// Variables that are locked together.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/common_runtime/dma_helper.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace tfopt {

// The status that refuses bad input to the op.
template <class... Parts>
absl::Status refusal(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("TfoptFusedUpdate", parts...));
}

// The same for whichever op runs.
template <class... Parts>
absl::Status refused(const tensorflow::OpKernelContext* context, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(context->op_kernel().type_string(), ": ", parts...));
}

// Looks up what the handle of an op's input stands for; an empty tensor holds none.
template <class Resource>
absl::Status look_up(tensorflow::OpKernelContext* context, int input,
                     tensorflow::core::RefCountPtr<Resource>* found) {
  if (context->input(input).NumElements() != 1)
    return absl::InvalidArgumentError(
        absl::StrCat("it has shape ", context->input(input).shape().DebugString(), ", expected one handle."));
  return LookupResource(context, HandleFromInput(context, input), found);
}

// A list of variables, no two of them the same: a resource, so that a graph can hand over many as one.
class Bundle : public tensorflow::ResourceBase {
 public:
  // Looks up inputs [0, count) of an op.
  absl::Status find(tensorflow::OpKernelContext* context, int count);

  int size() const { return static_cast<int>(variables_.size()); }
  tensorflow::Var* operator[](int i) const { return variables_[i].get(); }
  // By address: the order in which TensorFlow's own ops lock several variables.
  const std::vector<tensorflow::mutex*>& locks() const { return locks_; }

  std::string DebugString() const override { return absl::StrCat("tfopt's bundle of ", size(), " variables"); }

 private:
  std::vector<tensorflow::core::RefCountPtr<tensorflow::Var>> variables_;
  std::vector<tensorflow::mutex*> locks_;
};

// The variables an op works on, locked for as long as this lives.
class LockedVariables {
 public:
  LockedVariables() = default;
  LockedVariables(const LockedVariables&) = delete;
  void operator=(const LockedVariables&) = delete;
  ~LockedVariables();

  // Looks up and locks `count` variables: the op's first inputs, or the bundle that is its first input.
  absl::Status acquire(tensorflow::OpKernelContext* context, int count, bool bundled);

  tensorflow::Var* operator[](int i) const { return (*bundle_)[i]; }

  // Asks the memory for variable i, and once that is there, for what says where its elements lie.
  void prefetch(int i) const { __builtin_prefetch((*this)[i]->tensor()); }
  void prefetch_buffer(int i) const { __builtin_prefetch(tensorflow::DMAHelper::buffer((*this)[i]->tensor())); }

 private:
  tensorflow::core::RefCountPtr<Bundle> bundle_;
  bool locked_ = false;
};

// How many inputs of an op stand for `count` variables.
inline int variable_inputs(int count, bool bundled) { return bundled ? 1 : count; }

// Copies a tensor, on the device of the op, to one that nothing was written to yet.
using Copy = absl::Status (*)(tensorflow::OpKernelContext* context, const tensorflow::Tensor& from,
                              tensorflow::Tensor* to);

absl::Status copy_on_cpu(tensorflow::OpKernelContext* context, const tensorflow::Tensor& from,
                         tensorflow::Tensor* to);

// Gives a locked variable a buffer of its own where someone still reads the present one.
absl::Status own_buffer(tensorflow::OpKernelContext* context, tensorflow::Var* variable, Copy copy);

// Gives a locked variable a new buffer with the same elements, in main memory on huge pages if it is large.
absl::Status new_buffer(tensorflow::OpKernelContext* context, tensorflow::Var* variable, Copy copy);

}  // namespace tfopt
