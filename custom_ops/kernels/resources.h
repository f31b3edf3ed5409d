// Variables that are locked together.
#pragma once
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace tfopt {

// The status that refuses bad input to the op.
template <class... Parts>
absl::Status refusal(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("TfoptFusedUpdate", parts...));
}

// The variables behind an op's first inputs, locked for as long as this lives.
class LockedVariables {
 public:
  LockedVariables() = default;
  LockedVariables(const LockedVariables&) = delete;
  void operator=(const LockedVariables&) = delete;
  ~LockedVariables();

  // Looks up and locks inputs [0, count); every one must be another variable.
  absl::Status acquire(tensorflow::OpKernelContext* context, int count);

  tensorflow::Var* operator[](int input) const { return variables_[input].get(); }

 private:
  std::vector<tensorflow::core::RefCountPtr<tensorflow::Var>> variables_;
  std::vector<tensorflow::mutex*> held_;
};

// Copies a tensor on the device of the op.
using Copy = absl::Status (*)(tensorflow::OpKernelContext* context, const tensorflow::Tensor& from,
                              tensorflow::Tensor* to);

absl::Status copy_on_cpu(tensorflow::OpKernelContext* context, const tensorflow::Tensor& from,
                         tensorflow::Tensor* to);

// Gives a variable a buffer of its own where someone still reads the present one.
absl::Status own_buffer(tensorflow::OpKernelContext* context, tensorflow::Var* variable, Copy copy);

}  // namespace tfopt
