// Updates, norms and products as one custom call for all arrays. XLA for CPU makes a loop of each result, so that
// what several results need is read again for each; the kernels read and write everything once.
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "custom_ops/xla/normalize.h"
#include "custom_ops/xla/operands.h"
#include "custom_ops/xla/target.h"
#include "xla/layout_util.h"
#include "xla/shape_util.h"

namespace tfopt {
namespace {

using xla::Shape;
using xla::XlaOp;

// The shapes of expressions, their elements in the order in which the kernels count them.
absl::StatusOr<std::vector<Shape>> row_major(xla::XlaBuilder* builder, const std::vector<XlaOp>& all) {
  std::vector<Shape> shapes;
  for (XlaOp x : all) {
    absl::StatusOr<Shape> shape = builder->GetShape(x);
    if (!shape.ok()) return shape.status();
    xla::LayoutUtil::SetToDefaultLayout(&*shape);
    shapes.push_back(*std::move(shape));
  }
  return shapes;
}

// A call that returns a tuple, the first `updated` of its results where the operands of that place lie.
XlaOp call(xla::XlaBuilder* builder, const char* target, const std::vector<XlaOp>& operands,
           const std::vector<Shape>& shapes, const std::vector<Shape>& results, int64_t updated,
           const std::string& attributes) {
  std::vector<std::pair<xla::ShapeIndex, std::pair<int64_t, xla::ShapeIndex>>> aliases;
  for (int64_t i = 0; i < updated; ++i) aliases.push_back({{i}, {i, {}}});
  return xla::CustomCallWithLayout(builder, target, operands, xla::ShapeUtil::MakeTupleShape(results), shapes,
                                   attributes, /*has_side_effect=*/false, aliases, /*literal=*/nullptr,
                                   xla::CustomCallSchedule::SCHEDULE_NONE,
                                   xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
}

// What the target is told when a program is compiled, as a dictionary attribute of MLIR.
std::string update_attributes(const Operands& operands) {
  return absl::StrCat("{", kRuleAttribute, " = \"", operands.rule, "\", ", kAveragedAttribute, " = ",
                      operands.averaged ? "true" : "false", ", ", kGroupsAttribute, " = array<i32: ",
                      absl::StrJoin(operands.groups, ", "), ">}");
}

std::vector<XlaOp> elements(XlaOp tuple, size_t count) {
  std::vector<XlaOp> made;
  for (size_t i = 0; i < count; ++i) made.push_back(xla::GetTupleElement(tuple, i));
  return made;
}

// A call with one result, nothing of which lies where an operand does.
XlaOp call_for_one(const char* target, const std::vector<XlaOp>& operands, const Shape& result) {
  xla::XlaBuilder* builder = operands[0].builder();
  const XlaOp made = builder->ReportErrorOrReturn([&]() -> absl::StatusOr<XlaOp> {
    const absl::StatusOr<std::vector<Shape>> shapes = row_major(builder, operands);
    if (!shapes.ok()) return shapes.status();
    return call(builder, target, operands, *shapes, {result}, 0, "");
  });
  return xla::GetTupleElement(made, 0);
}

// A call of normalisation with three results, the last two of floats.
std::vector<XlaOp> normalize_call(const char* target, const NormalizeOperands& is, const std::vector<XlaOp>& operands,
                                  const std::vector<int64_t>& of_last, int64_t updated) {
  xla::XlaBuilder* builder = operands[0].builder();
  const Geometry& geometry = is.geometry;
  uint32_t bits;
  static_assert(sizeof bits == sizeof is.epsilon);
  std::memcpy(&bits, &is.epsilon, sizeof bits);
  const std::string attributes = absl::StrCat("{", kRunAttribute, " = ", geometry.run, " : i64, ", kEpsilonAttribute,
                                              " = 0x", absl::Hex(bits, absl::kZeroPad8), " : f32}");
  const Shape last = xla::ShapeUtil::MakeShapeWithDescendingLayout(xla::F32, of_last);
  const Shape first = xla::ShapeUtil::MakeShapeWithDescendingLayout(
      is.type, {geometry.outer, geometry.inner, geometry.groups, geometry.width});
  const XlaOp made = builder->ReportErrorOrReturn([&]() -> absl::StatusOr<XlaOp> {
    const absl::StatusOr<std::vector<Shape>> shapes = row_major(builder, operands);
    if (!shapes.ok()) return shapes.status();
    return call(builder, target, operands, *shapes, {first, last, last}, updated, attributes);
  });
  return elements(made, 3);
}

}  // namespace

std::vector<XlaOp> update_by_call(const Operands& operands) {
  const size_t count = operands.variables.size();
  xla::XlaBuilder* builder = operands.gradients[0].builder();
  std::vector<XlaOp> all = operands.variables;
  all.insert(all.end(), operands.gradients.begin(), operands.gradients.end());
  all.insert(all.end(), {operands.scalars, operands.following, operands.keep, operands.factors, operands.bound,
                         operands.average_rate});
  const XlaOp made = builder->ReportErrorOrReturn([&]() -> absl::StatusOr<XlaOp> {
    const absl::StatusOr<std::vector<Shape>> shapes = row_major(builder, all);
    if (!shapes.ok()) return shapes.status();
    const std::vector<Shape> results(shapes->begin(), shapes->begin() + count);
    return call(builder, kUpdateTarget, all, *shapes, results, count, update_attributes(operands));
  });
  return elements(made, count);
}

std::vector<XlaOp> norms_by_call(const std::vector<XlaOp>& accumulators, const std::vector<XlaOp>& gradients) {
  xla::XlaBuilder* builder = gradients[0].builder();
  std::vector<XlaOp> all = accumulators;
  all.insert(all.end(), gradients.begin(), gradients.end());
  const XlaOp made = builder->ReportErrorOrReturn([&]() -> absl::StatusOr<XlaOp> {
    const absl::StatusOr<std::vector<Shape>> shapes = row_major(builder, all);
    if (!shapes.ok()) return shapes.status();
    const int64_t count = gradients.size();
    const std::vector<Shape> results = {xla::ShapeUtil::MakeShapeWithDescendingLayout(xla::F64, {}),
                                        xla::ShapeUtil::MakeShapeWithDescendingLayout(xla::F64, {count})};
    return call(builder, kNormTarget, all, *shapes, results, 0, "");
  });
  return elements(made, 2);
}

XlaOp products_by_call(const std::vector<XlaOp>& rows, const std::vector<XlaOp>& vectors, int64_t count) {
  std::vector<XlaOp> all = rows;
  all.insert(all.end(), vectors.begin(), vectors.end());
  const int64_t columns = vectors.size();
  return call_for_one(kProductsTarget, all, xla::ShapeUtil::MakeShapeWithDescendingLayout(xla::F64, {count, columns}));
}

XlaOp combination_by_call(const std::vector<XlaOp>& rows, XlaOp factors, xla::PrimitiveType type, int64_t length) {
  std::vector<XlaOp> all = rows;
  all.push_back(factors);
  return call_for_one(kCombinationTarget, all, xla::ShapeUtil::MakeShapeWithDescendingLayout(type, {length}));
}

std::vector<XlaOp> normalize_by_call(const NormalizeOperands& is) {
  return normalize_call(kNormalizeTarget, is, {is.x, is.gamma, is.beta}, {is.geometry.outer, is.geometry.groups}, 0);
}

std::vector<XlaOp> normalize_backward_by_call(const NormalizeOperands& is) {
  return normalize_call(kNormalizeBackwardTarget, is, {is.upstream, is.x, is.gamma, is.mean, is.variance},
                        {is.geometry.parameters}, 1);
}

}  // namespace tfopt
