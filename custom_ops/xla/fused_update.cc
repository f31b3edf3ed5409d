// The op inside what XLA compiles, for jit_compile=True and for TPUs.
#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "custom_ops/xla/operands.h"
#include "custom_ops/xla/target.h"
#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_compiler.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {
namespace {

using tensorflow::DataType;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

constexpr char kCpu[] = "XLA_CPU_JIT";

std::atomic<bool> portable{false};

absl::Status check_shape(XlaOpKernelContext* context, int input, const TensorShape& expected) {
  if (context->InputShape(input) == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("TfoptFusedUpdate: expected shape ", expected.DebugString(),
                                                 " of input ", input, ", got ",
                                                 context->InputShape(input).DebugString(), "."));
}

class FusedUpdateXla : public XlaOpKernel {
 public:
  explicit FusedUpdateXla(OpKernelConstruction* context) : XlaOpKernel(context) {
    int slots = 0, averages = 0, count = 0;
    OP_REQUIRES_OK(context, context->GetAttr("rule", &rule_));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &groups_));
    OP_REQUIRES_OK(context, context->GetAttr("N", &count));
    OP_REQUIRES_OK(context, context->GetAttr("S", &slots));
    OP_REQUIRES_OK(context, context->GetAttr("A", &averages));
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("G", &gradient_));
    facts_ = find_facts(rule_);
    wide_ = type_ == tensorflow::DT_DOUBLE ? tensorflow::DT_DOUBLE : tensorflow::DT_FLOAT;
    const bool fits = facts_ && slots == count * facts_->slots && (averages == 0 || averages == count) &&
                      groups_.size() == static_cast<size_t>(count) && (gradient_ == type_ || gradient_ == wide_);
    OP_REQUIRES(context, fits,
                absl::InvalidArgumentError("TfoptFusedUpdate: lists or types that do not fit the rule."));
    variables_ = slots + count + averages;
  }

  void Compile(XlaOpKernelContext* context) override {
    OP_REQUIRES_OK(context, check_numbers(context));
    OP_REQUIRES_OK(context, check_distinct(context));
    Operands operands;
    OP_REQUIRES_OK(context, read(context, operands));
    const bool call = runs_here(context) && can_call();
    const std::vector<xla::XlaOp> made = call ? update_by_call(operands) : update_by_operations(operands);
    for (int i = 0; i < variables_; ++i)
      OP_REQUIRES_OK(context, context->AssignVariable(i, type_of(i), made[i]));
  }

 private:
  int count() const { return static_cast<int>(groups_.size()); }
  int number(int which) const { return variables_ + count() + which; }
  DataType type_of(int variable) const { return variable < count() ? type_ : wide_; }

  // Whether the program will run in this process, where a call finds the kernels.
  static bool runs_here(XlaOpKernelContext* context) {
    const tensorflow::DeviceType& device = context->compiler()->options().device_type;
    return device.type_string() == kCpu && !portable;
  }

  absl::Status check_numbers(XlaOpKernelContext* context) const {
    const int64_t groups = context->InputShape(number(2)).num_elements();
    const TensorShape rows({groups, facts_->scalars});
    TF_RETURN_IF_ERROR(check_shape(context, number(0), rows));
    TF_RETURN_IF_ERROR(check_shape(context, number(1), facts_->looks_ahead ? rows : TensorShape({0, 0})));
    TF_RETURN_IF_ERROR(check_shape(context, number(2), TensorShape({groups})));
    if (context->InputShape(number(3)).dims() != 0)
      TF_RETURN_IF_ERROR(check_shape(context, number(3), TensorShape({count()})));
    TF_RETURN_IF_ERROR(check_shape(context, number(4), TensorShape({})));
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
        return absl::InvalidArgumentError("TfoptFusedUpdate: a variable is listed twice.");
    }
    return absl::OkStatus();
  }

  absl::Status read(XlaOpKernelContext* context, Operands& operands) const {
    operands.rule = rule_;
    operands.groups = groups_;
    operands.slots = facts_->slots;
    TF_RETURN_IF_ERROR(tensorflow::DataTypeToPrimitiveType(type_, &operands.narrow));
    TF_RETURN_IF_ERROR(tensorflow::DataTypeToPrimitiveType(wide_, &operands.wide));
    for (int i = 0; i < variables_; ++i) TF_RETURN_IF_ERROR(read_variable(context, i, operands));
    for (int i = 0; i < count(); ++i) operands.gradients.push_back(context->Input(variables_ + i));
    operands.scalars = context->Input(number(0));
    operands.following = context->Input(number(1));
    operands.keep = context->Input(number(2));
    operands.factors = context->Input(number(3));
    operands.average_rate = context->Input(number(4));
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
  DataType type_, gradient_, wide_;
  int variables_ = 0;
};

// Kernels of XLA's own devices, as REGISTER_XLA_OP would make of it with TensorFlow's first operation and for
// what was loaded by then; like this the library may come later.
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate").Device(kCpu), FusedUpdateXla);
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate").Device("XLA_GPU_JIT"), FusedUpdateXla);
REGISTER_KERNEL_BUILDER(Name("TfoptFusedUpdate").Device("XLA_TPU_JIT"), FusedUpdateXla);

}  // namespace
}  // namespace tfopt

// Whether programs lowered from now on must run without this library, which a program for export has to: they
// then consist of XLA's own operations on every platform.
extern "C" __attribute__((visibility("default"))) void tfopt_lower_portably(int on) { tfopt::portable = on != 0; }
