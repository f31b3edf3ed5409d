// The gradients among an op's inputs: dense ones, and those that came as some rows of a variable.
#pragma once
#include <vector>

#include "absl/status/status.h"
#include "custom_ops/apply/gradient.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

Type type_of(tensorflow::DataType type);
tensorflow::DataType compute_type(tensorflow::DataType type);

// What an op's attributes say of its gradients: the same in every call.
class GradientInputs {
 public:
  // Reads the attributes N, G, R and sparse.
  absl::Status configure(tensorflow::OpKernelConstruction* context);

  int count() const { return count_; }
  int sparse_count() const { return static_cast<int>(sparse_.size()); }
  tensorflow::DataType type() const { return type_; }

 private:
  friend class Gradients;

  int count_ = 0;
  tensorflow::DataType type_ = tensorflow::DT_INVALID;
  std::vector<int> sparse_;  // which gradients are rows
};

// The gradients of one call: inputs [first, first + N), and behind them the indices of those that are rows.
class Gradients {
 public:
  Gradients(const GradientInputs& inputs, tensorflow::OpKernelContext* context, int first)
      : inputs_(inputs), context_(context), first_(first) {}

  // Checks the indices' shapes and sorts them.
  absl::Status prepare();

  // Whether gradient i belongs to a variable of that shape.
  absl::Status check_fits(int i, const tensorflow::TensorShape& variable) const;

  const tensorflow::Tensor& values(int i) const { return context_->input(first_ + i); }
  const Rows* rows(int i) const { return rows_[i].empty() ? nullptr : &rows_[i].front(); }
  Gradient of(int i) const;

 private:
  absl::Status refuse(int i, const std::string& reason) const;

  const GradientInputs& inputs_;
  tensorflow::OpKernelContext* const context_;
  const int first_;
  std::vector<std::vector<Rows>> rows_;  // per gradient, none or one
};

}  // namespace tfopt
