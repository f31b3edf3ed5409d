// The rows among an op's inputs: of matrices that are variables, then of those that are tensors.
#pragma once
#include <vector>

#include "absl/status/status.h"
#include "custom_ops/apply/rows.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {

class RowInputs {
 public:
  // Reads the attributes V, R and T.
  absl::Status configure(tensorflow::OpKernelConstruction* context);

  // Where what follows the rows begins.
  int end() const { return variables_ + tensors_; }
  Type type() const { return type_; }

 private:
  friend class HeldRows;

  int variables_ = 0, tensors_ = 0;
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
