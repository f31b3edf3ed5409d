// The norms inside what XLA compiles.
#include <vector>

#include "custom_ops/xla/operands.h"
#include "custom_ops/xla/platform.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
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
    std::vector<XlaOp> accumulators, gradients;
    OP_REQUIRES_OK(context, read(context, accumulators, gradients));
    const std::vector<XlaOp> norms = may_call(context) ? norms_by_call(accumulators, gradients)
                                                       : norms_by_operations(accumulators, gradients);
    context->SetOutput(0, norms[0]);
    context->SetOutput(1, norms[1]);
  }

 private:
  absl::Status read(XlaOpKernelContext* context, std::vector<XlaOp>& accumulators,
                    std::vector<XlaOp>& gradients) const {
    for (int i = 0; i < count_; ++i) gradients.push_back(context->Input(accumulators_ + i));
    for (int i = 0; i < accumulators_; ++i) {
      tensorflow::TensorShape shape;
      XlaOp accumulated;
      TF_RETURN_IF_ERROR(context->ReadVariableInput(i, wide_, &shape, &accumulated));
      if (shape != context->InputShape(accumulators_ + i))
        return refuse(context, "an accumulator and its gradient differ in shape");
      accumulators.push_back(accumulated);
    }
    return absl::OkStatus();
  }

  // In double, what was accumulated added in the type that the accumulator has. Elements of double gradients are
  // taken in units of the largest, as their squares might be too large.
  std::vector<XlaOp> norms_by_operations(const std::vector<XlaOp>& accumulators,
                                         const std::vector<XlaOp>& gradients) const {
    const xla::PrimitiveType wide = wide_ == tensorflow::DT_DOUBLE ? xla::F64 : xla::F32;
    xla::XlaBuilder* builder = gradients[0].builder();
    const auto length = [&](const XlaOp& x) { return wide == xla::F64 ? length_in_units(x) : plain_length(x); };
    std::vector<XlaOp> each;
    for (size_t i = 0; i < gradients.size(); ++i) {
      XlaOp sum = gradients[i];
      if (!accumulators.empty()) sum = accumulators[i] + xla::ConvertElementType(sum, wide);
      sum = xla::ConvertElementType(sum, xla::F64);
      each.push_back(xla::Reshape(length(sum), {1}));
    }
    const XlaOp norms = xla::ConcatInDim(builder, each, 0);
    return {length(norms), norms};
  }

  static XlaOp plain_length(const XlaOp& x) {
    const auto add = xla::CreateScalarAddComputation(xla::F64, x.builder());
    return xla::Sqrt(xla::ReduceAll(x * x, xla::Zero(x.builder(), xla::F64), add));
  }

  static XlaOp length_in_units(const XlaOp& x) {
    const XlaOp zero = xla::Zero(x.builder(), xla::F64), one = xla::One(x.builder(), xla::F64);
    const auto larger = xla::CreateScalarMaxComputation(xla::F64, x.builder());
    const XlaOp largest = xla::ReduceAll(xla::Abs(x), zero, larger);
    const XlaOp unit = xla::Select(xla::And(xla::Gt(largest, zero), xla::IsFinite(largest)), largest, one);
    return unit * plain_length(x / unit);
  }

  int count_ = 0, accumulators_ = 0;
  tensorflow::DataType wide_;
};

TFOPT_LOWERING("TfoptGlobalNorm", GlobalNormXla);

}  // namespace
}  // namespace tfopt
