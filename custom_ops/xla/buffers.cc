#include "custom_ops/xla/buffers.h"

#include <cstring>

#include "custom_ops/xla/target.h"

namespace tfopt {
namespace {

using xla::ffi::AnyBuffer;
using xla::ffi::DataType;
using xla::ffi::Error;

Type type_of(DataType type) {
  switch (type) {
    case DataType::F32: return kFloat;
    case DataType::F64: return kDouble;
    case DataType::F16: return kHalf;
    case DataType::BF16: return kBfloat16;
    default: return kTypes;
  }
}

// XLA was asked to let them share a buffer.
void settle(const AnyBuffer& operand, const AnyBuffer& result) {
  if (operand.untyped_data() != result.untyped_data() && operand.size_bytes() > 0)
    std::memcpy(result.untyped_data(), operand.untyped_data(), operand.size_bytes());
}

}  // namespace

Type type_of(const AnyBuffer& buffer) { return type_of(buffer.element_type()); }

Buffers::Buffers(xla::ffi::RemainingArgs from, xla::ffi::RemainingRets to) {
  // What is no array is left out, and then missed.
  for (size_t i = 0; i < from.size(); ++i)
    if (auto one = from.get<AnyBuffer>(i); one.has_value()) operands.push_back(*one);
  for (size_t i = 0; i < to.size(); ++i)
    if (auto one = to.get<AnyBuffer>(i); one.has_value()) results.push_back(**one);
}

Error UpdateCall::check() {
  if (Error error = check_lists(); error.failure()) return error;
  if (Error error = check_numbers(); error.failure()) return error;
  return check_variables();
}

Error UpdateCall::check_lists() {
  if (place_ < 0) return refused_call(kUpdateTarget, "there is no rule ", name_);
  rule_ = &table().rules[place_];
  variables_ = buffers_.results.size();
  const size_t count = groups_.size(), without = count * (1 + rule_->slots + averaged_);
  if (count == 0 || (variables_ != without && variables_ != without + count))
    return refused_call(kUpdateTarget, name_, " of ", count, " weights has ", without, " results or ", count,
                   " more, not ", variables_);
  const size_t operands = variables_ + count + kNumbers;
  // One more is what the call had to wait for.
  if (buffers_.operands.size() != operands && buffers_.operands.size() != operands + 1)
    return refused_call(kUpdateTarget, "expected ", operands, " operands or one more, got ", buffers_.operands.size());
  return Error::Success();
}

Error UpdateCall::check_numbers() const {
  const int64_t rows = number(kKeep).element_count(), matrix = rows * rule_->scalars;
  for (const int32_t group : groups_)
    if (group < 0 || group >= rows)
      return refused_call(kUpdateTarget, "expected groups of ", rows, ", got ", group);
  const int64_t factors = number(kFactors).dimensions().size() == 0 ? 1 : count();
  const int64_t expected[kNumbers] = {matrix, rule_->looks_ahead ? matrix : 0, rows, factors, 1, 1};
  for (int which = 0; which < kNumbers; ++which) {
    const int64_t size = number(which).element_count();
    if (size != expected[which] || type_of(number(which)) != kDouble)
      return refused_call(kUpdateTarget, "expected ", expected[which], " float64 in list ", which, ", got ", size);
  }
  return Error::Success();
}

Error UpdateCall::check_variables() const {
  const Type narrow = type_of(buffers_.results[0]), given = type_of(gradient(0));
  if (narrow == kTypes || given == kTypes || compute_type(narrow) != compute_type(given))
    return refused_call(kUpdateTarget, "weights and gradients are of types that do not go together");
  for (size_t i = 0; i < variables_; ++i) {
    const AnyBuffer& from = buffers_.operands[i];
    const AnyBuffer& to = buffers_.results[i];
    const AnyBuffer& like = gradient(static_cast<int>(i % groups_.size()));
    const Type expected = i < groups_.size() ? narrow : compute_type(narrow);
    const bool typed = type_of(from) == expected && type_of(to) == expected && type_of(like) == given;
    const size_t size = like.element_count();
    if (!typed || from.element_count() != size || to.element_count() != size)
      return refused_call(kUpdateTarget, "variable ", i, ", its result and its gradient differ");
  }
  return Error::Success();
}

Plan UpdateCall::plan() const {
  for (size_t i = 0; i < variables_; ++i) settle(buffers_.operands[i], buffers_.results[i]);
  Plan plan(table(), place_, type_of(buffers_.results[0]), type_of(gradient(0)), numbers(kAverageRate)[0],
            numbers(kBound)[0]);
  plan.reserve(count());
  for (int i = 0; i < count(); ++i) plan.add(variable(i), buffers_.results[i].element_count());
  return plan;
}

Variable UpdateCall::variable(int i) const {
  const auto place = [&](size_t list) { return buffers_.results[list * groups_.size() + i].untyped_data(); };
  Variable one;
  one.gradient.values = gradient(i).untyped_data();
  one.weight = place(0);
  for (int k = 0; k < rule_->slots; ++k) one.slots[k] = place(k + 1);
  if (averaged_) one.average = place(rule_->slots + 1);
  if (accumulated()) one.gradient.accumulator = place(rule_->slots + 1 + averaged_);
  const int64_t row = groups_[i] * rule_->scalars;
  one.step = {numbers(kScalars) + row, numbers(kFollowing) + row, numbers(kKeep)[groups_[i]],
              numbers(kFactors)[number(kFactors).element_count() == 1 ? 0 : i]};
  return one;
}

Error NormCall::check() {
  const std::vector<AnyBuffer>& all = buffers_.operands;
  const auto& to = buffers_.results;
  if (to.size() != 2 || to[0].element_count() != 1 || type_of(to[0]) != kDouble || type_of(to[1]) != kDouble)
    return refused_call(kNormTarget, "expected a float64 and a list of float64 as results");
  const size_t gradients = count();
  if (gradients == 0 || (all.size() != gradients && all.size() != 2 * gradients))
    return refused_call(kNormTarget, "expected ", gradients, " gradients and as many accumulators or none, got ",
                   all.size(), " operands");
  const Type given = type_of(all[accumulators()]);
  if (given == kTypes) return refused_call(kNormTarget, "gradients are of a type that it does not know");
  for (size_t i = 0; i < all.size(); ++i) {
    const Type expected = i < accumulators() ? compute_type(given) : given;
    const AnyBuffer& like = all[accumulators() + i % gradients];
    if (type_of(all[i]) != expected || all[i].element_count() != like.element_count())
      return refused_call(kNormTarget, "operand ", i, " does not fit the others");
  }
  return Error::Success();
}

NormPlan NormCall::plan() const {
  NormPlan plan(table(), type_of(buffers_.operands[accumulators()]));
  for (int64_t i = 0; i < count(); ++i) {
    const AnyBuffer& gradient = buffers_.operands[accumulators() + i];
    Gradient one;
    one.values = gradient.untyped_data();
    if (accumulators() > 0) one.accumulator = buffers_.operands[i].untyped_data();
    plan.add(one, gradient.element_count());
  }
  return plan;
}

void NormCall::finish(const NormPlan& plan) const {
  *static_cast<double*>(buffers_.results[0].untyped_data()) = plan.global_norm();
  double* each = static_cast<double*>(buffers_.results[1].untyped_data());
  for (int64_t i = 0; i < count(); ++i) each[i] = plan.norm(static_cast<int>(i));
}

}  // namespace tfopt
