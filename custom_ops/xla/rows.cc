// Products and sums of rows inside what XLA compiles.
#include <utility>
#include <vector>

#include "custom_ops/xla/operands.h"
#include "custom_ops/xla/platform.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/hlo/builder/lib/arithmetic.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tfopt {
namespace {

using tensorflow::DataType;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;
using xla::XlaOp;

XlaOp wide(XlaOp x) { return xla::ConvertElementType(x, xla::F64); }

// An op whose first inputs are rows.
class OfRows : public XlaOpKernel {
 public:
  explicit OfRows(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("V", &variables_));
    OP_REQUIRES_OK(context, context->GetAttr("R", &tensors_));
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
  }

 protected:
  struct Rows {
    std::vector<XlaOp> all;  // vectors and matrices
    std::vector<int64_t> counts;  // of rows; 0 for a vector, which is one
    int64_t count = 0, length = 0;
  };

  int end() const { return variables_ + tensors_; }

  absl::Status read(XlaOpKernelContext* context, Rows* rows) const {
    for (int i = 0; i < end(); ++i) {
      TensorShape shape;
      XlaOp one;
      if (i < variables_) {
        TF_RETURN_IF_ERROR(context->ReadVariableInput(i, type_, &shape, &one));
      } else {
        shape = context->InputShape(i);
        one = context->Input(i);
      }
      if (shape.dims() < 1 || shape.dims() > 2) return refuse(context, "input ", i, " is no vector and no matrix");
      const int64_t length = shape.dim_size(shape.dims() - 1);
      if (i == 0) rows->length = length;
      if (length != rows->length || length == 0)
        return refuse(context, "input ", i, " has rows of ", length, " elements, the first of ", rows->length);
      rows->all.push_back(one);
      rows->counts.push_back(shape.dims() == 1 ? 0 : shape.dim_size(0));
      rows->count += shape.dims() == 1 ? 1 : shape.dim_size(0);
    }
    return rows->count > 0 ? absl::OkStatus() : refuse(context, "expected at least one row");
  }

  DataType type_;

 private:
  int variables_ = 0, tensors_ = 0;
};

class RowProductsXla : public OfRows {
 public:
  using OfRows::OfRows;

  void Compile(XlaOpKernelContext* context) override {
    Rows rows;
    OP_REQUIRES_OK(context, read(context, &rows));
    std::vector<XlaOp> vectors;
    for (int i = end(); i < context->num_inputs(); ++i) {
      OP_REQUIRES(context, context->InputShape(i) == TensorShape({rows.length}),
                  refuse(context, "vector ", i - end(), " is not as long as the rows"));
      vectors.push_back(context->Input(i));
    }
    context->SetOutput(0, may_call(context) ? products_by_call(rows.all, vectors, rows.count)
                                            : products_by_operations(rows, vectors));
  }

 private:
  static XlaOp products_by_operations(const Rows& rows, const std::vector<XlaOp>& vectors) {
    xla::XlaBuilder* builder = vectors[0].builder();
    const auto add = xla::CreateScalarAddComputation(xla::F64, builder);
    std::vector<XlaOp> columns;
    for (const XlaOp vector : vectors) {
      std::vector<XlaOp> parts;
      for (size_t i = 0; i < rows.all.size(); ++i) {
        const int64_t count = rows.counts[i], last = count ? 1 : 0;
        const XlaOp other = count ? xla::Broadcast(wide(vector), {count}) : wide(vector);
        const XlaOp product = wide(rows.all[i]) * other;
        const XlaOp sums = xla::Reduce(product, xla::Zero(builder, xla::F64), add, {last});
        parts.push_back(xla::Reshape(sums, {count ? count : 1, 1}));
      }
      columns.push_back(xla::ConcatInDim(builder, parts, 0));
    }
    return xla::ConcatInDim(builder, columns, 1);
  }
};

class RowCombinationXla : public OfRows {
 public:
  using OfRows::OfRows;

  void Compile(XlaOpKernelContext* context) override {
    Rows rows;
    OP_REQUIRES_OK(context, read(context, &rows));
    OP_REQUIRES(context, context->InputShape(end()) == TensorShape({rows.count}),
                refuse(context, "expected one factor for each of ", rows.count, " rows"));
    const xla::PrimitiveType type = type_ == tensorflow::DT_DOUBLE ? xla::F64 : xla::F32;
    const XlaOp factors = context->Input(end());
    const XlaOp sum = may_call(context) ? combination_by_call(rows.all, factors, type, rows.length)
                                        : xla::ConvertElementType(combined(rows, factors), type);
    context->SetOutput(0, sum);
  }

 private:
  // In double.
  static XlaOp combined(const Rows& rows, XlaOp factors) {
    XlaOp sum;
    int64_t first = 0;
    for (size_t i = 0; i < rows.all.size(); ++i) {
      const int64_t count = rows.counts[i] ? rows.counts[i] : 1;
      const XlaOp matrix = rows.counts[i] ? rows.all[i] : xla::Reshape(rows.all[i], {1, rows.length});
      const XlaOp own = xla::SliceInDim(factors, first, first + count, 1, 0);
      const XlaOp spread = xla::BroadcastInDim(own, {count, rows.length}, {0});
      const XlaOp zero = xla::ZerosLike(spread);
      const XlaOp multiples = xla::Select(xla::Eq(spread, zero), zero, spread * wide(matrix));
      const auto add = xla::CreateScalarAddComputation(xla::F64, factors.builder());
      const XlaOp part = xla::Reduce(multiples, xla::Zero(factors.builder(), xla::F64), add, {0});
      sum = i == 0 ? part : sum + part;
      first += count;
    }
    return sum;
  }
};

class WriteRowXla : public XlaOpKernel {
 public:
  explicit WriteRowXla(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
  }

  void Compile(XlaOpKernelContext* context) override {
    TensorShape shape;
    XlaOp matrix;
    OP_REQUIRES_OK(context, context->ReadVariableInput(0, type_, &shape, &matrix));
    const bool fits = shape.dims() == 2 && context->InputShape(2) == TensorShape({shape.dim_size(1)});
    OP_REQUIRES(context, fits, refuse(context, "the row does not fit a variable of shape ", shape.DebugString()));
    OP_REQUIRES(context, context->InputShape(1).dims() == 0, refuse(context, "(index): expected a scalar"));
    const XlaOp index = context->Input(1), zero = xla::ZerosLike(index);
    const std::vector<int64_t> sizes = {1, shape.dim_size(1)};
    const std::vector<XlaOp> place = {xla::Max(index, zero), zero};
    const XlaOp old = xla::DynamicSlice(matrix, place, sizes);
    const XlaOp row = xla::Reshape(context->Input(2), sizes);
    const XlaOp kept = xla::Select(xla::Broadcast(xla::Lt(index, zero), sizes), old, row);
    OP_REQUIRES_OK(context, context->AssignVariable(0, type_, xla::DynamicUpdateSlice(matrix, kept, place)));
  }

 private:
  DataType type_;
};

TFOPT_LOWERING("TfoptRowProducts", RowProductsXla);
TFOPT_LOWERING("TfoptRowCombination", RowCombinationXla);
TFOPT_LOWERING("TfoptWriteRow", WriteRowXla);

}  // namespace
}  // namespace tfopt
