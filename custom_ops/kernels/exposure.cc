// Weights that were shown become the point to train on again; rare, so that one thread does.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "custom_ops/apply/gradient.h"
#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"
#include "custom_ops/rules/rules.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfopt {
namespace {

using tensorflow::DataType;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// Adds the rule's displacement to n elements; slots are pointers to the element they begin with.
template <class R, class A>
void displace(void* point, void* const* slots, int64_t n, const double* scalars) {
  using Scalars = typename R::template Scalars<A>;
  Scalars now;
  for (int k = 0; k < R::kScalars; ++k) reinterpret_cast<A*>(&now)[k] = static_cast<A>(scalars[k]);
  for (int64_t i = 0; i < n; ++i) {
    typename R::template Slots<A> state;
    for (int k = 0; k < R::kSlots; ++k) reinterpret_cast<A*>(&state)[k] = static_cast<const A*>(slots[k])[i];
    static_cast<A*>(point)[i] += R::template ahead<A>(state, now);
  }
}

typedef void (*Displace)(void* point, void* const* slots, int64_t n, const double* scalars);

// In float and in double; null where the rule does not look ahead.
struct Displacement {
  Displace compute[2];
};

template <class R>
constexpr Displacement displacement_of() {
  if constexpr (R::kLooksAhead) return {{displace<R, float>, displace<R, double>}};
  return {};
}

const Displacement kDisplacements[] = {
#define TFOPT_RULE(name, Struct) displacement_of<Struct>(),
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
};

// Calls change(begin, point, n) for parts of a weight, with their values in the type to compute in.
template <class F>
void change_tiles(Type type, Tensor& weight, F change) {
  const int64_t size = weight.NumElements();
  float wide[kTile];
  for (int64_t begin = 0; begin < size; begin += kTile) {
    const int64_t n = std::min(kTile, size - begin);
    void* part = advance(weight.data(), begin, type);
    if (type == compute_type(type)) {
      change(begin, part, n);
      continue;
    }
    table().widen[type](part, wide, n);
    change(begin, wide, n);
    table().narrow[type](wide, part, n);
  }
}

// An op on N weights and what belongs to them, whose values it may change.
class ExposureOp : public OpKernel {
 protected:
  explicit ExposureOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("N", &count_));
    OP_REQUIRES_OK(context, context->GetAttr("T", &weight_));
  }

  // Locks and checks `kinds` variables for each weight.
  absl::Status acquire(OpKernelContext* context, int kinds, LockedVariables& variables) const {
    TF_RETURN_IF_ERROR(variables.acquire(context, kinds * count_, true));
    for (int at = 0; at < kinds * count_; ++at) {
      const Tensor& tensor = *variables[at]->tensor();
      if (!variables[at]->is_initialized || !tensor.IsInitialized())
        return refused(context, "variable ", at, " is not initialised.");
      if (tensor.dtype() != (at < count_ ? weight_ : compute_type(weight_)))
        return refused(context, "variable ", at, " holds ", tensorflow::DataTypeString(tensor.dtype()), ".");
      if (tensor.shape() != variables[at % count_]->tensor()->shape())
        return refused(context, "variable ", at, " has another shape than its weight.");
    }
    for (int at = 0; at < kinds * count_; ++at) TF_RETURN_IF_ERROR(own_buffer(context, variables[at], copy_on_cpu));
    return absl::OkStatus();
  }

  int count_ = 0;
  DataType weight_;
};

class SwapOp : public ExposureOp {
 public:
  explicit SwapOp(OpKernelConstruction* context) : ExposureOp(context) {}

  void Compute(OpKernelContext* context) override {
    LockedVariables variables;
    OP_REQUIRES_OK(context, acquire(context, 2, variables));
    for (int i = 0; i < count_; ++i) swap(*variables[i]->tensor(), *variables[count_ + i]->tensor());
  }

 private:
  void swap(Tensor& weight, Tensor& average) const {
    if (weight.dtype() == average.dtype()) return std::swap(weight, average);
    float* kept = average.flat<float>().data();
    change_tiles(type_of(weight_), weight, [kept](int64_t begin, void* point, int64_t n) {
      std::swap_ranges(kept + begin, kept + begin + n, static_cast<float*>(point));
    });
  }
};

class DisplaceOp : public ExposureOp {
 public:
  explicit DisplaceOp(OpKernelConstruction* context) : ExposureOp(context) {
    std::string rule;
    int slots = 0;
    OP_REQUIRES_OK(context, context->GetAttr("rule", &rule));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &groups_));
    OP_REQUIRES_OK(context, context->GetAttr("S", &slots));
    place_ = find_rule(rule.c_str());
    const bool fits = place_ >= 0 && kDisplacements[place_].compute[0] &&
                      slots == count_ * table().rules[place_].slots && groups_.size() == static_cast<size_t>(count_);
    OP_REQUIRES(context, fits, absl::InvalidArgumentError("TfoptDisplaceBundled: lists that do not fit the rule."));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& scalars = context->input(1);
    OP_REQUIRES_OK(context, check(context, scalars));
    const RuleKernel& rule = table().rules[place_];
    LockedVariables variables;
    OP_REQUIRES_OK(context, acquire(context, 1 + rule.slots, variables));
    const Type compute = tfopt::compute_type(type_of(weight_));
    const Displace displace = kDisplacements[place_].compute[compute];
    for (int i = 0; i < count_; ++i) {
      const double* row = static_cast<const double*>(scalars.data()) + groups_[i] * rule.scalars;
      change_tiles(type_of(weight_), *variables[i]->tensor(), [&](int64_t begin, void* point, int64_t n) {
        void* slots[kMostSlots] = {};
        for (int k = 0; k < rule.slots; ++k)
          slots[k] = advance(variables[(k + 1) * count_ + i]->tensor()->data(), begin, compute);
        displace(point, slots, n, row);
      });
    }
  }

 private:
  absl::Status check(OpKernelContext* context, const Tensor& scalars) const {
    const int64_t width = table().rules[place_].scalars;
    if (scalars.dims() != 2 || scalars.dim_size(1) != width)
      return refused(context, "(scalars): expected rows of ", width, ", got ", scalars.shape().DebugString(), ".");
    for (const int group : groups_)
      if (group < 0 || group >= scalars.dim_size(0))
        return refused(context, "(groups): expected rows of ", scalars.dim_size(0), ", got ", group, ".");
    const double* values = static_cast<const double*>(scalars.data());
    if (!std::all_of(values, values + scalars.NumElements(), [](double x) { return std::isfinite(x); }))
      return refused(context, "(scalars): expected finite numbers.");
    return absl::OkStatus();
  }

  int place_ = -1;
  std::vector<int> groups_;
};

REGISTER_KERNEL_BUILDER(Name("TfoptSwapBundled").Device(tensorflow::DEVICE_CPU), SwapOp);
REGISTER_KERNEL_BUILDER(Name("TfoptDisplaceBundled").Device(tensorflow::DEVICE_CPU), DisplaceOp);

}  // namespace
}  // namespace tfopt
