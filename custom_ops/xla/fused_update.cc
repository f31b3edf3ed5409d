// The op inside what XLA compiles, for jit_compile=True and for TPUs.
#include <set>
#include <string>
#include <vector>

#include "custom_ops/xla/operands.h"
#include "custom_ops/xla/platform.h"
#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {
namespace {

using tensorflow::DataType;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

DataType compute_type(DataType type) {
  return type == tensorflow::DT_DOUBLE ? tensorflow::DT_DOUBLE : tensorflow::DT_FLOAT;
}

absl::Status check_shape(XlaOpKernelContext* context, int input, const TensorShape& expected) {
  if (context->InputShape(input) == expected) return absl::OkStatus();
  return refuse(context, "expected shape ", expected.DebugString(), " of input ", input, ", got ",
                context->InputShape(input).DebugString());
}

class FusedUpdateXla : public XlaOpKernel {
 public:
  explicit FusedUpdateXla(OpKernelConstruction* context) : XlaOpKernel(context) {
    DataType gradient;
    int slots = 0, averages = 0, accumulators = 0, rows = 0, count = 0;
    OP_REQUIRES_OK(context, context->GetAttr("rule", &rule_));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &groups_));
    OP_REQUIRES_OK(context, context->GetAttr("N", &count));
    OP_REQUIRES_OK(context, context->GetAttr("S", &slots));
    OP_REQUIRES_OK(context, context->GetAttr("A", &averages));
    OP_REQUIRES_OK(context, context->GetAttr("C", &accumulators));
    OP_REQUIRES_OK(context, context->GetAttr("R", &rows));
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("G", &gradient));
    facts_ = find_facts(rule_);
    wide_ = compute_type(type_);
    const bool fits = facts_ && slots == count * facts_->slots && (averages == 0 || averages == count) &&
                      (accumulators == 0 || accumulators == count) && compute_type(gradient) == wide_ &&
                      groups_.size() == static_cast<size_t>(count);
    OP_REQUIRES(context, fits,
                absl::InvalidArgumentError("TfoptFusedUpdate: lists or types that do not fit the rule."));
    OP_REQUIRES(context, rows == 0, absl::UnimplementedError("TfoptFusedUpdate: XLA takes dense gradients only."));
    averaged_ = averages > 0;
    accumulated_ = accumulators > 0;
    variables_ = count + slots + averages + accumulators;
  }

  void Compile(XlaOpKernelContext* context) override {
    OP_REQUIRES_OK(context, check_numbers(context));
    OP_REQUIRES_OK(context, check_distinct(context));
    Operands operands;
    OP_REQUIRES_OK(context, read(context, operands));
    const auto update = may_call(context) ? update_by_calls : update_by_operations;
    const std::vector<xla::XlaOp> made = update(operands);
    for (int i = 0; i < variables_; ++i)
      OP_REQUIRES_OK(context, context->AssignVariable(i, type_of(i), made[i]));
  }

 private:
  int count() const { return static_cast<int>(groups_.size()); }
  int number(int which) const { return variables_ + count() + which; }
  DataType type_of(int variable) const { return variable < count() ? type_ : wide_; }

  absl::Status check_numbers(XlaOpKernelContext* context) const {
    const int64_t groups = context->InputShape(number(2)).num_elements();
    const TensorShape rows({groups, facts_->scalars});
    TF_RETURN_IF_ERROR(check_shape(context, number(0), rows));
    TF_RETURN_IF_ERROR(check_shape(context, number(1), facts_->looks_ahead ? rows : TensorShape({0, 0})));
    TF_RETURN_IF_ERROR(check_shape(context, number(2), TensorShape({groups})));
    if (context->InputShape(number(3)).dims() != 0)
      TF_RETURN_IF_ERROR(check_shape(context, number(3), TensorShape({count()})));
    TF_RETURN_IF_ERROR(check_shape(context, number(4), TensorShape({})));
    TF_RETURN_IF_ERROR(check_shape(context, number(5), TensorShape({})));
    for (const int group : groups_)
      if (group < 0 || group >= groups)
        return absl::InvalidArgumentError(
            absl::StrCat("TfoptFusedUpdate(groups): expected rows of ", groups, ", got ", group, "."));
    return absl::OkStatus();
  }

  absl::Status check_distinct(XlaOpKernelContext* context) const {
    std::set<tensorflow::XlaResource*> seen;
    for (int i = 0; i < variables_; ++i) {
      tensorflow::XlaResource* one = nullptr;
      TF_RETURN_IF_ERROR(context->GetResourceInput(i, &one));
      if (!seen.insert(one).second)
        return refuse(context, "a variable is listed twice");
    }
    return absl::OkStatus();
  }

  absl::Status read(XlaOpKernelContext* context, Operands& operands) const {
    operands.rule = rule_;
    operands.groups = groups_;
    operands.slots = facts_->slots;
    operands.averaged = averaged_;
    operands.accumulated = accumulated_;
    TF_RETURN_IF_ERROR(tensorflow::DataTypeToPrimitiveType(type_, &operands.narrow));
    TF_RETURN_IF_ERROR(tensorflow::DataTypeToPrimitiveType(wide_, &operands.wide));
    for (int i = 0; i < variables_; ++i) TF_RETURN_IF_ERROR(read_variable(context, i, operands));
    for (int i = 0; i < count(); ++i) operands.gradients.push_back(context->Input(variables_ + i));
    operands.scalars = context->Input(number(0));
    operands.following = context->Input(number(1));
    operands.keep = context->Input(number(2));
    operands.factors = context->Input(number(3));
    operands.bound = context->Input(number(4));
    operands.average_rate = context->Input(number(5));
    operands.one_factor = context->InputShape(number(3)).dims() == 0;
    return absl::OkStatus();
  }

  absl::Status read_variable(XlaOpKernelContext* context, int i, Operands& operands) const {
    TensorShape shape;
    xla::XlaOp value;
    TF_RETURN_IF_ERROR(context->ReadVariableInput(i, type_of(i), &shape, &value));
    operands.variables.push_back(value);
    return check_shape(context, variables_ + i % count(), shape);
  }

  std::string rule_;
  const RuleFacts* facts_ = nullptr;
  std::vector<int> groups_;
  DataType type_, wide_;
  int variables_ = 0;
  bool averaged_ = false, accumulated_ = false;
};

TFOPT_LOWERING("TfoptFusedUpdate", FusedUpdateXla);

}  // namespace
}  // namespace tfopt
