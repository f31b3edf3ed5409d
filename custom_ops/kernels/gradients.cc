#include "custom_ops/kernels/gradients.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace tfopt {

using tensorflow::DataType;
using tensorflow::Tensor;
using tensorflow::TensorShape;

Type type_of(DataType type) {
  switch (type) {
    case tensorflow::DT_DOUBLE: return kDouble;
    case tensorflow::DT_HALF: return kHalf;
    case tensorflow::DT_BFLOAT16: return kBfloat16;
    default: return kFloat;
  }
}

DataType compute_type(DataType type) {
  return type == tensorflow::DT_DOUBLE ? tensorflow::DT_DOUBLE : tensorflow::DT_FLOAT;
}

absl::Status GradientInputs::configure(tensorflow::OpKernelConstruction* context) {
  int rows = 0;
  TF_RETURN_IF_ERROR(context->GetAttr("N", &count_));
  TF_RETURN_IF_ERROR(context->GetAttr("G", &type_));
  TF_RETURN_IF_ERROR(context->GetAttr("R", &rows));
  TF_RETURN_IF_ERROR(context->GetAttr("sparse", &sparse_));
  bool fits = sparse_.size() == static_cast<size_t>(rows);
  for (size_t k = 0; k < sparse_.size(); ++k)
    fits = fits && sparse_[k] > (k ? sparse_[k - 1] : -1) && sparse_[k] < count_;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(context->def().op(), "(sparse): expected ", rows,
                                                 " growing places below ", count_, ", one per list of rows."));
}

absl::Status Gradients::prepare() {
  rows_.resize(inputs_.count_);
  for (int k = 0; k < inputs_.sparse_count(); ++k) {
    const int i = inputs_.sparse_[k];
    const Tensor& indices = context_->input(first_ + inputs_.count_ + k);
    const TensorShape& shape = values(i).shape();
    if (indices.dims() != 1 || shape.dims() < 1 || shape.dim_size(0) != indices.NumElements())
      return refuse(i, absl::StrCat("has shape ", shape.DebugString(), ", its rows ", indices.shape().DebugString()));
    TensorShape row = shape;
    row.RemoveDim(0);
    rows_[i].emplace_back(indices.vec<int64_t>().data(), indices.NumElements(), row.num_elements());
  }
  return absl::OkStatus();
}

absl::Status Gradients::check_fits(int i, const TensorShape& variable) const {
  const TensorShape& shape = values(i).shape();
  if (!rows(i) && shape == variable) return absl::OkStatus();
  TensorShape row = variable, own = shape;
  if (rows(i)) {
    if (variable.dims() > 0) row.RemoveDim(0);
    own.RemoveDim(0);
  }
  if (own != row || (rows(i) && variable.dims() == 0))
    return refuse(i, absl::StrCat("has shape ", shape.DebugString(), ", its variable ", variable.DebugString()));
  if (rows(i) && !rows(i)->inside(variable.dim_size(0)))
    return refuse(i, absl::StrCat("has rows that lie outside [0, ", variable.dim_size(0), ")"));
  return absl::OkStatus();
}

Gradient Gradients::of(int i) const {
  Gradient made;
  made.values = values(i).data();
  made.rows = rows(i);
  return made;
}

absl::Status Gradients::refuse(int i, const std::string& reason) const {
  return absl::InvalidArgumentError(absl::StrCat(context_->op_kernel().type_string(), ": gradient ", i, " ", reason, "."));
}

}  // namespace tfopt
