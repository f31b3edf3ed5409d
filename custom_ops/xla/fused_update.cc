// The op inside what XLA compiles, from the same rules: for jit_compile=True, and for TPUs.
#include <string>
#include <vector>

#include "custom_ops/xla/element.h"
// The rules follow their vocabulary.
#include "custom_ops/rules/rules.h"
#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"

namespace tfopt {
namespace {

using tensorflow::DataType;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;
using xla::XlaOp;

// A weight's step, as expressions.
struct Element {
  XlaOp gradient, weight, keep;
  std::vector<XlaOp> slots, scalars, following;
};

// A rule's struct of values, from a list of them.
template <class Values>
Values as_struct(const std::vector<XlaOp>& list) {
  Values made;
  std::copy(list.begin(), list.end(), reinterpret_cast<XlaOp*>(&made));
  return made;
}

// Updates the slots, and the weight to the iterate; returns the point for the weight to hold.
template <class R>
XlaOp update(Element& element) {
  using Slots = typename R::template Slots<XlaOp>;
  using Scalars = typename R::template Scalars<XlaOp>;
  Slots slots = as_struct<Slots>(element.slots);
  const Scalars now = as_struct<Scalars>(element.scalars);
  XlaOp& iterate = element.weight;
  if constexpr (R::kLooksAhead) iterate = iterate - R::template ahead<XlaOp>(slots, now);
  iterate = iterate * element.keep;
  R::template update<XlaOp>(element.gradient, iterate, slots, now);
  if constexpr (R::kSlots > 0) {
    const XlaOp* values = reinterpret_cast<const XlaOp*>(&slots);
    element.slots.assign(values, values + R::kSlots);
  }
  if constexpr (R::kLooksAhead)
    return iterate + R::template ahead<XlaOp>(slots, as_struct<Scalars>(element.following));
  return iterate;
}

struct Lowering {
  const char* name;
  int slots, scalars;
  bool looks_ahead;
  XlaOp (*update)(Element&);
};

const Lowering kLowerings[] = {
#define TFOPT_RULE(name, Struct) \
  {#name, Struct::kSlots, Struct::kScalars, Struct::kLooksAhead, update<Struct>},
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
};

const Lowering* find_lowering(const std::string& rule) {
  for (const Lowering& one : kLowerings)
    if (rule == one.name) return &one;
  return nullptr;
}

class FusedUpdateXla : public XlaOpKernel {
 public:
  explicit FusedUpdateXla(OpKernelConstruction* context) : XlaOpKernel(context) {
    std::string rule;
    int slots = 0, averages = 0, accumulators = 0, rows = 0;
    OP_REQUIRES_OK(context, context->GetAttr("rule", &rule));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &groups_));
    OP_REQUIRES_OK(context, context->GetAttr("N", &count_));
    OP_REQUIRES_OK(context, context->GetAttr("S", &slots));
    OP_REQUIRES_OK(context, context->GetAttr("A", &averages));
    OP_REQUIRES_OK(context, context->GetAttr("C", &accumulators));
    OP_REQUIRES_OK(context, context->GetAttr("R", &rows));
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    rule_ = find_lowering(rule);
    const bool fits = rule_ && slots == count_ * rule_->slots && (averages == 0 || averages == count_) &&
                      (accumulators == 0 || accumulators == count_) && groups_.size() == static_cast<size_t>(count_);
    OP_REQUIRES(context, fits, absl::InvalidArgumentError("TfoptFusedUpdate: lists that do not fit the rule."));
    OP_REQUIRES(context, rows == 0, absl::UnimplementedError("TfoptFusedUpdate: XLA takes dense gradients only."));
    averaged_ = averages > 0;
    accumulated_ = accumulators > 0;
    variables_ = slots + count_ + averages + accumulators;
    wide_ = type_ == tensorflow::DT_DOUBLE ? tensorflow::DT_DOUBLE : tensorflow::DT_FLOAT;
    OP_REQUIRES_OK(context, tensorflow::DataTypeToPrimitiveType(type_, &narrow_type_));
    OP_REQUIRES_OK(context, tensorflow::DataTypeToPrimitiveType(wide_, &wide_type_));
  }

  void Compile(XlaOpKernelContext* context) override {
    for (int i = 0; i < count_; ++i) OP_REQUIRES_OK(context, update_weight(context, i));
  }

 private:
  absl::Status update_weight(XlaOpKernelContext* context, int i) const {
    Element element;
    TF_RETURN_IF_ERROR(read(context, i, i, &element.weight));
    element.slots.resize(rule_->slots);
    for (int k = 0; k < rule_->slots; ++k)
      TF_RETURN_IF_ERROR(read(context, (k + 1) * count_ + i, i, &element.slots[k]));
    const int numbers = variables_ + count_;
    element.scalars = row(context->Input(numbers), i);
    if (rule_->looks_ahead) element.following = row(context->Input(numbers + 1), i);
    element.keep = at(context->Input(numbers + 2), {groups_[i]});
    const bool one_factor = context->InputShape(numbers + 3).dims() == 0;
    const XlaOp factors = context->Input(numbers + 3);
    const XlaOp factor = one_factor ? widen(factors) : at(factors, {i});
    TF_RETURN_IF_ERROR(read_gradient(context, i, &element.gradient));
    element.gradient = cut(element.gradient * factor, widen(context->Input(numbers + 4)));
    const XlaOp point = rule_->update(element);
    TF_RETURN_IF_ERROR(context->AssignVariable(i, type_, xla::ConvertElementType(point, narrow_type_)));
    for (int k = 0; k < rule_->slots; ++k)
      TF_RETURN_IF_ERROR(context->AssignVariable((k + 1) * count_ + i, wide_, element.slots[k]));
    return averaged_ ? average(context, i, element.weight, widen(context->Input(numbers + 5))) : absl::OkStatus();
  }

  // The gradient with what was accumulated, which then is zeroed.
  absl::Status read_gradient(XlaOpKernelContext* context, int i, XlaOp* gradient) const {
    *gradient = widen(context->Input(variables_ + i));
    if (!accumulated_) return absl::OkStatus();
    const int input = variables_ - count_ + i;
    XlaOp sum;
    TF_RETURN_IF_ERROR(read(context, input, i, &sum));
    *gradient = sum + *gradient;
    return context->AssignVariable(input, wide_, xla::ZerosLike(sum));
  }

  // Cut off at ±bound; NaN stays.
  static XlaOp cut(XlaOp x, XlaOp bound) {
    const XlaOp below = xla::Select(xla::Gt(x, bound), bound, x);
    return xla::Select(xla::Lt(below, -bound), -bound, below);
  }

  absl::Status average(XlaOpKernelContext* context, int i, XlaOp iterate, XlaOp rate) const {
    const int input = (rule_->slots + 1) * count_ + i;
    XlaOp mean;
    TF_RETURN_IF_ERROR(read(context, input, i, &mean));
    return context->AssignVariable(input, wide_, mean + (iterate - mean) * rate);
  }

  // The value of a variable, of the shape that the gradient of weight i has, in the type to compute in.
  absl::Status read(XlaOpKernelContext* context, int input, int i, XlaOp* value) const {
    tensorflow::TensorShape shape;
    TF_RETURN_IF_ERROR(context->ReadVariableInput(input, input < count_ ? type_ : wide_, &shape, value));
    if (shape != context->InputShape(variables_ + i))
      return absl::InvalidArgumentError("TfoptFusedUpdate: a variable and its gradient differ in shape.");
    *value = widen(*value);
    return absl::OkStatus();
  }

  XlaOp widen(XlaOp x) const { return xla::ConvertElementType(x, wide_type_); }

  // One number of a list or a matrix.
  XlaOp at(XlaOp list, std::vector<int64_t> place) const {
    std::vector<int64_t> end = place;
    for (int64_t& one : end) ++one;
    const XlaOp cut = xla::Slice(list, place, end, std::vector<int64_t>(place.size(), 1));
    return widen(xla::Reshape(cut, {}));
  }

  std::vector<XlaOp> row(XlaOp matrix, int i) const {
    std::vector<XlaOp> made;
    for (int k = 0; k < rule_->scalars; ++k) made.push_back(at(matrix, {groups_[i], k}));
    return made;
  }

  const Lowering* rule_ = nullptr;
  std::vector<int> groups_;
  DataType type_, wide_;
  xla::PrimitiveType narrow_type_, wide_type_;
  int count_ = 0, variables_ = 0;
  bool averaged_ = false, accumulated_ = false;
};

REGISTER_XLA_OP(Name("TfoptFusedUpdate"), FusedUpdateXla);

}  // namespace
}  // namespace tfopt
