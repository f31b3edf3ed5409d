// The target of the custom call: checks what a compiled program hands over, and runs the kernels on it.
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "custom_ops/apply/apply.h"
#include "custom_ops/xla/share.h"
#include "custom_ops/xla/target.h"
#include "xla/ffi/api/ffi.h"

namespace xla::ffi {
// TensorFlow's own; its header takes the place of the one above and cannot go beside it.
const XLA_FFI_Api* GetXlaFfiApi();
}  // namespace xla::ffi

namespace tfopt {
namespace {

using xla::ffi::AnyBuffer;
using xla::ffi::DataType;
using xla::ffi::Error;
using xla::ffi::RemainingArgs;
using xla::ffi::RemainingRets;
using xla::ffi::Span;
using xla::ffi::ThreadPool;

template <class... Parts>
Error refusal(const Parts&... parts) {
  return Error::InvalidArgument(absl::StrCat(kTarget, ": ", parts..., "."));
}

bool type_of(DataType from, Type* to) {
  switch (from) {
    case DataType::F32: *to = kFloat; return true;
    case DataType::F64: *to = kDouble; return true;
    case DataType::F16: *to = kHalf; return true;
    case DataType::BF16: *to = kBfloat16; return true;
    default: return false;
  }
}

DataType wide(DataType type) { return type == DataType::F64 ? DataType::F64 : DataType::F32; }

// One call. Buffers are variables, gradients and numbers, in this order; results are the variables.
class Call {
 public:
  Call(std::string_view rule, Span<const int32_t> groups, RemainingArgs from, RemainingRets to)
      : name_(rule), groups_(groups), from_(from), to_(to), place_(find_rule(name_.c_str())) {}

  Error check() {
    if (place_ < 0) return refusal("there is no rule ", name_);
    rule_ = &table().rules[place_];
    const size_t without = groups_.size() * (1 + rule_->slots), with = without + groups_.size();
    variables_ = to_.size();
    if (groups_.size() == 0 || (variables_ != without && variables_ != with))
      return refusal(name_, " of ", groups_.size(), " weights has ", without, " or ", with, " results, not ",
                     variables_);
    if (from_.size() != variables_ + groups_.size() + kNumbers)
      return refusal("expected ", variables_ + groups_.size() + kNumbers, " operands, got ", from_.size());
    if (!take_buffers()) return refusal("operands and results must be arrays");
    if (Error error = check_numbers(); error.failure()) return error;
    return check_variables();
  }

  // Rules out what only a program of another origin could ask for; afterwards `run` cannot fail.
  void run(ThreadPool& pool) const {
    Type weight = kFloat, gradient = kFloat;
    type_of(results_[0].element_type(), &weight);
    type_of(gradient_of(0).element_type(), &gradient);
    Plan plan(table(), place_, weight, gradient, numbers(kAverageRate)[0]);
    plan.reserve(count());
    for (int i = 0; i < count(); ++i) plan.add(variable(i), results_[i].element_count());
    for (size_t i = 0; i < variables_; ++i) settle(operands_[i], results_[i]);
    run_shared(plan, pool);
  }

 private:
  enum Number { kScalars, kFollowing, kKeep, kFactors, kAverageRate, kNumbers };

  int count() const { return static_cast<int>(groups_.size()); }
  const AnyBuffer& gradient_of(int i) const { return operands_[variables_ + i]; }
  const AnyBuffer& number(Number which) const { return operands_[variables_ + count() + which]; }
  const double* numbers(Number which) const { return static_cast<const double*>(number(which).untyped_data()); }

  bool take_buffers() {
    for (size_t i = 0; i < from_.size(); ++i) {
      const auto operand = from_.get<AnyBuffer>(i);
      if (!operand.has_value()) return false;
      operands_.push_back(*operand);
    }
    for (size_t i = 0; i < to_.size(); ++i) {
      auto result = to_.get<AnyBuffer>(i);
      if (!result.has_value()) return false;
      results_.push_back(**result);
    }
    return true;
  }

  Error check_numbers() const {
    for (int which = 0; which < kNumbers; ++which)
      if (number(Number(which)).element_type() != DataType::F64) return refusal("numbers must be float64");
    const int64_t rows = number(kKeep).element_count(), matrix = rows * rule_->scalars;
    for (const int32_t group : groups_)
      if (group < 0 || group >= rows) return refusal("expected groups of ", rows, ", got ", group);
    const int64_t expected[] = {matrix, rule_->looks_ahead ? matrix : 0, rows, factors_expected(), 1};
    for (int which = 0; which < kNumbers; ++which)
      if (static_cast<int64_t>(number(Number(which)).element_count()) != expected[which])
        return refusal("expected ", expected[which], " numbers in list ", which, ", got ",
                       number(Number(which)).element_count());
    return Error::Success();
  }

  int64_t factors_expected() const { return number(kFactors).dimensions().size() == 0 ? 1 : count(); }

  Error check_variables() const {
    Type known;
    const DataType narrow = results_[0].element_type(), given = gradient_of(0).element_type();
    if (!type_of(narrow, &known) || (given != narrow && given != wide(narrow)))
      return refusal("weights or gradients are of a type that it does not know");
    for (size_t i = 0; i < variables_; ++i) {
      const AnyBuffer& gradient = gradient_of(static_cast<int>(i % count()));
      const DataType expected = i < groups_.size() ? narrow : wide(narrow);
      const bool typed = operands_[i].element_type() == expected && results_[i].element_type() == expected &&
                         gradient.element_type() == given;
      const size_t size = gradient.element_count();
      if (!typed || operands_[i].element_count() != size || results_[i].element_count() != size)
        return refusal("variable ", i, ", its result and its gradient differ");
    }
    return Error::Success();
  }

  // XLA was asked to let them share a buffer.
  static void settle(const AnyBuffer& operand, const AnyBuffer& result) {
    if (operand.untyped_data() != result.untyped_data() && operand.size_bytes() > 0)
      std::memcpy(result.untyped_data(), operand.untyped_data(), operand.size_bytes());
  }

  Variable variable(int i) const {
    Variable one;
    one.gradient = gradient_of(i).untyped_data();
    one.weight = results_[i].untyped_data();
    for (int k = 0; k < rule_->slots; ++k) one.slots[k] = results_[(k + 1) * count() + i].untyped_data();
    const size_t average = (rule_->slots + 1) * groups_.size() + i;
    if (average < variables_) one.average = results_[average].untyped_data();
    const int64_t row = groups_[i] * rule_->scalars;
    const bool one_factor = number(kFactors).element_count() == 1;
    one.step = {numbers(kScalars) + row, numbers(kFollowing) + row, numbers(kKeep)[groups_[i]],
                numbers(kFactors)[one_factor ? 0 : i]};
    return one;
  }

  const std::string name_;
  const Span<const int32_t> groups_;
  const RemainingArgs from_;
  const RemainingRets to_;
  const int place_;
  const RuleKernel* rule_ = nullptr;
  size_t variables_ = 0;
  std::vector<AnyBuffer> operands_, results_;
};

Error fused_update(ThreadPool pool, std::string_view rule, Span<const int32_t> groups, RemainingArgs from,
                   RemainingRets to) {
  Call call(rule, groups, from, to);
  if (Error error = call.check(); error.failure()) return error;
  call.run(pool);
  return Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kHandler, fused_update,
                       xla::ffi::Ffi::Bind()
                           .Ctx<ThreadPool>()
                           .Attr<std::string_view>(kRuleAttribute)
                           .Attr<Span<const int32_t>>(kGroupsAttribute)
                           .RemainingArgs()
                           .RemainingRets());

const bool kRegistered = xla::ffi::Ffi::RegisterStaticHandler(xla::ffi::GetXlaFfiApi(), kTarget, "Host", kHandler) ==
                         nullptr;

}  // namespace

bool can_call() { return kRegistered; }

}  // namespace tfopt
