// The rows among an op's inputs: of matrices that are variables, then of those that are tensors.
#pragma once
#include <vector>

#include "absl/status/status.h"
#include "custom_ops/apply/rows.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

class RowInputs {
 public:
  // Reads the attributes V, R and T. So many inputs that are no rows lie between variables and tensors.
  absl::Status configure(tensorflow::OpKernelConstruction* context, int between = 0);

  // Where what follows the variables, and all rows, begins.
  int between() const { return variables_; }
  int end() const { return variables_ + between_ + tensors_; }
  bool none() const { return variables_ + tensors_ == 0; }
  Type type() const { return type_; }

 private:
  friend class HeldRows;

  int variables_ = 0, between_ = 0, tensors_ = 0;
  Type type_ = kFloat;
  tensorflow::DataType dtype_ = tensorflow::DT_INVALID;
};

// The rows of one call, in memory that stays as it is while this lives.
class HeldRows {
 public:
  // Checks that there are rows, all of one length above 0.
  absl::Status read(const RowInputs& inputs, tensorflow::OpKernelContext* context);

  const Vectors& rows() const { return rows_; }

 private:
  absl::Status add(const RowInputs& inputs, tensorflow::OpKernelContext* context, int i,
                   const tensorflow::Tensor& tensor);

  std::vector<tensorflow::Tensor> held_;
  Vectors rows_;
};

}  // namespace tfopt
