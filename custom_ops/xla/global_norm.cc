// The norms inside what XLA compiles.
#include <vector>

#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "xla/hlo/builder/lib/arithmetic.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tfopt {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;
using xla::XlaOp;

class GlobalNormXla : public XlaOpKernel {
 public:
  explicit GlobalNormXla(OpKernelConstruction* context) : XlaOpKernel(context) {
    int rows = 0;
    tensorflow::DataType type;
    OP_REQUIRES_OK(context, context->GetAttr("N", &count_));
    OP_REQUIRES_OK(context, context->GetAttr("C", &accumulators_));
    OP_REQUIRES_OK(context, context->GetAttr("R", &rows));
    OP_REQUIRES_OK(context, context->GetAttr("G", &type));
    OP_REQUIRES(context, rows == 0, absl::UnimplementedError("TfoptGlobalNorm: XLA takes dense gradients only."));
    OP_REQUIRES(context, accumulators_ == 0 || accumulators_ == count_,
                absl::InvalidArgumentError("TfoptGlobalNorm: accumulators that do not fit the gradients."));
    wide_ = type == tensorflow::DT_DOUBLE ? tensorflow::DT_DOUBLE : tensorflow::DT_FLOAT;
  }

  void Compile(XlaOpKernelContext* context) override {
    xla::XlaBuilder* builder = context->builder();
    const auto sum = xla::CreateScalarAddComputation(xla::F64, builder);
    const XlaOp zero = xla::Zero(builder, xla::F64);
    std::vector<XlaOp> each;
    for (int i = 0; i < count_; ++i) {
      XlaOp gradient;
      OP_REQUIRES_OK(context, read(context, i, &gradient));
      each.push_back(xla::Reshape(xla::ReduceAll(gradient * gradient, zero, sum), {1}));
    }
    const XlaOp squares = xla::ConcatInDim(builder, each, 0);
    context->SetOutput(0, xla::Sqrt(xla::ReduceAll(squares, zero, sum)));
    context->SetOutput(1, xla::Sqrt(squares));
  }

 private:
  // In double, what was accumulated added in the type that the accumulator has.
  absl::Status read(XlaOpKernelContext* context, int i, XlaOp* gradient) const {
    *gradient = context->Input(accumulators_ + i);
    if (accumulators_) {
      tensorflow::TensorShape shape;
      XlaOp accumulated;
      TF_RETURN_IF_ERROR(context->ReadVariableInput(i, wide_, &shape, &accumulated));
      if (shape != context->InputShape(accumulators_ + i))
        return absl::InvalidArgumentError("TfoptGlobalNorm: an accumulator and its gradient differ in shape.");
      *gradient = accumulated + xla::ConvertElementType(*gradient, wide_ == tensorflow::DT_DOUBLE ? xla::F64 : xla::F32);
    }
    *gradient = xla::ConvertElementType(*gradient, xla::F64);
    return absl::OkStatus();
  }

  int count_ = 0, accumulators_ = 0;
  tensorflow::DataType wide_;
};

REGISTER_XLA_OP(Name("TfoptGlobalNorm"), GlobalNormXla);

}  // namespace
}  // namespace tfopt
