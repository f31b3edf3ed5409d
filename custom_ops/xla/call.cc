// Updates, norms and products as custom calls, each for many arrays. XLA for CPU makes a loop of each result, so that
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

// Elements of the weights of one call. Gradients are then read soon after they were made, while caches may still hold
// them, and their memory is free for the next ones: all of them at once are a block that the system would have to
// clear anew in every step. A call costs some ten microseconds, such an update a few thousand.
constexpr int64_t kStretch = 1 << 20;

// Where the call that begins with the weight `begin` ends.
int end_of_stretch(const Operands& operands, int begin) {
  xla::XlaBuilder* builder = operands.gradients[0].builder();
  int64_t elements = 0;
  int end = begin;
  while (end < operands.count() && elements < kStretch) {
    const absl::StatusOr<Shape> shape = builder->GetShape(operands.gradients[end++]);
    if (shape.ok()) elements += xla::ShapeUtil::ElementsIn(*shape);
  }
  return end;
}

// The operands of the weights from `begin` to `end`.
Operands stretch(const Operands& all, int begin, int end) {
  Operands some = all;
  some.groups.assign(all.groups.begin() + begin, all.groups.begin() + end);
  some.gradients.assign(all.gradients.begin() + begin, all.gradients.begin() + end);
  some.variables.clear();
  for (size_t list = 0; list < all.variables.size(); list += all.count())
    some.variables.insert(some.variables.end(), all.variables.begin() + list + begin,
                          all.variables.begin() + list + end);
  if (!all.one_factor) some.factors = xla::SliceInDim(all.factors, begin, end, 1, 0);
  return some;
}

// What must be there before weights from `begin` on are updated in place. The backward pass reads a layer's weights on
// its way to the layer before; with the gradient of that one at hand it has, and XLA need not copy them. Where weights
// are in another order it copies what is still to be read.
std::vector<XlaOp> waits_for(const Operands& operands, int begin) {
  if (begin == 0) return {};
  return {operands.gradients[begin - 1]};
}

// One call, once `before` is there.
std::vector<XlaOp> update_call(const Operands& operands, const std::vector<XlaOp>& before) {
  const size_t count = operands.variables.size();
  xla::XlaBuilder* builder = operands.gradients[0].builder();
  std::vector<XlaOp> all = operands.variables;
  all.insert(all.end(), operands.gradients.begin(), operands.gradients.end());
  all.insert(all.end(), {operands.scalars, operands.following, operands.keep, operands.factors, operands.bound,
                         operands.average_rate});
  all.insert(all.end(), before.begin(), before.end());
  const XlaOp made = builder->ReportErrorOrReturn([&]() -> absl::StatusOr<XlaOp> {
    const absl::StatusOr<std::vector<Shape>> shapes = row_major(builder, all);
    if (!shapes.ok()) return shapes.status();
    const std::vector<Shape> results(shapes->begin(), shapes->begin() + count);
    return call(builder, kUpdateTarget, all, *shapes, results, count, update_attributes(operands));
  });
  return elements(made, count);
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

std::vector<XlaOp> update_by_calls(const Operands& operands) {
  const int count = operands.count();
  std::vector<XlaOp> made(operands.variables.size());
  for (int begin = 0, end; begin < count; begin = end) {
    end = end_of_stretch(operands, begin);
    const std::vector<XlaOp> updated = update_call(stretch(operands, begin, end), waits_for(operands, begin));
    const int size = end - begin;
    for (size_t k = 0; k < updated.size(); ++k) made[k / size * count + begin + k % size] = updated[k];
  }
  return made;
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
