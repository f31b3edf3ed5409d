// Normalisation as operations of XLA: for every platform.
#include "custom_ops/xla/normalize.h"
#include "xla/hlo/builder/lib/arithmetic.h"
#include "xla/hlo/builder/lib/constants.h"

namespace tfopt {
namespace {

using xla::XlaOp;

// The expressions of one op, in float.
class Expressions {
 public:
  explicit Expressions(const NormalizeOperands& operands) : operands_(operands), is_(operands.geometry) {}

  XlaOp x() const { return wide(operands_.x); }
  XlaOp wide(XlaOp one) const { return xla::ConvertElementType(one, xla::F32); }
  XlaOp narrow(XlaOp one) const { return xla::ConvertElementType(one, operands_.type); }
  XlaOp epsilon() const { return number(operands_.epsilon); }
  // 1/n; of an empty region 1, so that sums over it stay 0.
  XlaOp share() const { return number(1.0f / static_cast<float>(is_.count() ? is_.count() : 1)); }

  // Statistics along the tensor, and back.
  XlaOp of_groups(XlaOp statistic) const { return xla::BroadcastInDim(statistic, shape(), {0, 2}); }
  XlaOp over_group(XlaOp one) const { return sum(one, {1, 3}); }

  // γ or β along the tensor, and back.
  XlaOp of_parameters(XlaOp vector) const {
    if (is_.size() == 0) return xla::Broadcast(number(0), shape());
    const XlaOp sample = xla::BroadcastInDim(vector, runs(), {1});
    return xla::BroadcastInDim(xla::Reshape(sample, {is_.inner, is_.groups, is_.width}), shape(), {1, 2, 3});
  }
  XlaOp over_parameter(XlaOp one) const {
    if (is_.size() == 0) return xla::Broadcast(number(0), {is_.parameters});
    return sum(xla::Reshape(sum(one, {0}), runs()), {0, 2});
  }

  // The first element of each group.
  XlaOp first() const {
    if (is_.size() == 0) return xla::Broadcast(number(0), {is_.outer, is_.groups});
    const XlaOp slice = xla::Slice(x(), {0, 0, 0, 0}, {is_.outer, 1, is_.groups, 1}, {1, 1, 1, 1});
    return xla::Reshape(slice, {is_.outer, is_.groups});
  }

 private:
  std::vector<int64_t> shape() const { return {is_.outer, is_.inner, is_.groups, is_.width}; }
  // Of a sample, by parameter.
  std::vector<int64_t> runs() const { return {is_.sample() / is_.period(), is_.parameters, is_.run}; }
  XlaOp number(float value) const { return xla::ConstantR0<float>(operands_.x.builder(), value); }
  XlaOp sum(XlaOp one, std::vector<int64_t> axes) const {
    xla::XlaBuilder* builder = one.builder();
    return xla::Reduce(one, number(0), xla::CreateScalarAddComputation(xla::F32, builder), axes);
  }

  const NormalizeOperands& operands_;
  const Geometry& is_;
};

}  // namespace

std::vector<XlaOp> normalize_by_operations(const NormalizeOperands& operands) {
  const Expressions e(operands);
  const XlaOp first = e.first(), shifted = e.x() - e.of_groups(first);
  const XlaOp centre = e.over_group(shifted) * e.share();
  const XlaOp deviation = shifted - e.of_groups(centre);
  const XlaOp variance = e.over_group(deviation * deviation) * e.share();
  const XlaOp mean = first + centre;
  const XlaOp normal = (e.x() - e.of_groups(mean)) * e.of_groups(xla::Rsqrt(variance + e.epsilon()));
  const XlaOp y = normal * e.of_parameters(operands.gamma) + e.of_parameters(operands.beta);
  return {e.narrow(y), mean, variance};
}

std::vector<XlaOp> normalize_backward_by_operations(const NormalizeOperands& operands) {
  const Expressions e(operands);
  const XlaOp upstream = e.wide(operands.upstream), inverse = xla::Rsqrt(operands.variance + e.epsilon());
  const XlaOp normal = (e.x() - e.of_groups(operands.mean)) * e.of_groups(inverse);
  const XlaOp h = upstream * e.of_parameters(operands.gamma);
  const XlaOp common = e.over_group(h) * e.share(), slope = e.over_group(h * normal) * e.share();
  const XlaOp by_x = (h - e.of_groups(common) - normal * e.of_groups(slope)) * e.of_groups(inverse);
  return {e.narrow(by_x), e.over_parameter(upstream * normal), e.over_parameter(upstream)};
}

}  // namespace tfopt
