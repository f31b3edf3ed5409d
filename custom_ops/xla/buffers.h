// What a compiled program hands to a target: checked, and as plans of the kernels. A program of another origin
// may hand over anything.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "custom_ops/apply/apply.h"
#include "custom_ops/apply/norm.h"
#include "xla/ffi/api/ffi.h"

namespace tfopt {

// The error that refuses a call of a target.
template <class... Parts>
xla::ffi::Error refused_call(const char* target, const Parts&... parts) {
  return xla::ffi::Error::InvalidArgument(absl::StrCat(target, ": ", parts..., "."));
}

// kTypes if the kernels do not know it.
Type type_of(const xla::ffi::AnyBuffer& buffer);

// The arrays of one call.
struct Buffers {
  std::vector<xla::ffi::AnyBuffer> operands, results;

  Buffers(xla::ffi::RemainingArgs from, xla::ffi::RemainingRets to);
};

// An update: variables, gradients and numbers in, variables out.
class UpdateCall {
 public:
  UpdateCall(std::string_view rule, bool averaged, xla::ffi::Span<const int32_t> groups, const Buffers& buffers)
      : name_(rule), averaged_(averaged), groups_(groups), buffers_(buffers), place_(find_rule(name_.c_str())) {}

  // Why it cannot be done; after success the other method may be called.
  xla::ffi::Error check();

  // The work, on the results' buffers, which hold the variables' values from then on.
  Plan plan() const;

 private:
  enum Number { kScalars, kFollowing, kKeep, kFactors, kBound, kAverageRate, kNumbers };

  int count() const { return static_cast<int>(groups_.size()); }
  bool accumulated() const { return variables_ > (1 + rule_->slots + averaged_) * groups_.size(); }
  const xla::ffi::AnyBuffer& gradient(int i) const { return buffers_.operands[variables_ + i]; }
  const xla::ffi::AnyBuffer& number(int which) const { return buffers_.operands[variables_ + count() + which]; }
  const double* numbers(Number which) const { return static_cast<const double*>(number(which).untyped_data()); }
  xla::ffi::Error check_lists();
  xla::ffi::Error check_numbers() const;
  xla::ffi::Error check_variables() const;
  Variable variable(int i) const;

  const std::string name_;
  const bool averaged_;
  const xla::ffi::Span<const int32_t> groups_;
  const Buffers& buffers_;
  const int place_;
  const RuleKernel* rule_ = nullptr;
  size_t variables_ = 0;
};

// Norms: accumulators, if any, and gradients in; two results.
class NormCall {
 public:
  explicit NormCall(const Buffers& buffers) : buffers_(buffers) {}

  // Why it cannot be done; after success the other methods may be called.
  xla::ffi::Error check();

  NormPlan plan() const;

  // Writes the results of a plan that has run.
  void finish(const NormPlan& plan) const;

 private:
  int64_t count() const { return buffers_.results[1].element_count(); }
  size_t accumulators() const { return buffers_.operands.size() - count(); }

  const Buffers& buffers_;
};

}  // namespace tfopt
