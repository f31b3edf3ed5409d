// The update as one custom call for all variables. XLA for CPU makes a loop of each result, so that what
// several results need is read again for each; the kernels read and write everything once.
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "custom_ops/xla/target.h"
#include "custom_ops/xla/operands.h"
#include "xla/layout_util.h"
#include "xla/shape_util.h"

namespace tfopt {
namespace {

using xla::XlaOp;

// The shape of an expression, its elements in the order in which the kernels count them.
absl::StatusOr<xla::Shape> row_major(xla::XlaBuilder* builder, XlaOp x) {
  absl::StatusOr<xla::Shape> shape = builder->GetShape(x);
  if (shape.ok()) xla::LayoutUtil::SetToDefaultLayout(&*shape);
  return shape;
}

// What the target is told when a program is compiled, as a dictionary attribute of MLIR.
std::string attributes(const Operands& operands) {
  return absl::StrCat("{", kRuleAttribute, " = \"", operands.rule, "\", ", kGroupsAttribute, " = array<i32: ",
                      absl::StrJoin(operands.groups, ", "), ">}");
}

absl::StatusOr<XlaOp> call(xla::XlaBuilder* builder, const Operands& operands) {
  std::vector<XlaOp> all = operands.variables;
  all.insert(all.end(), operands.gradients.begin(), operands.gradients.end());
  all.insert(all.end(), {operands.scalars, operands.following, operands.keep, operands.factors,
                         operands.average_rate});
  std::vector<xla::Shape> shapes;
  for (XlaOp operand : all) {
    absl::StatusOr<xla::Shape> shape = row_major(builder, operand);
    if (!shape.ok()) return shape.status();
    shapes.push_back(*std::move(shape));
  }
  const int64_t count = operands.variables.size();
  // Every variable is updated where it lies.
  std::vector<std::pair<xla::ShapeIndex, std::pair<int64_t, xla::ShapeIndex>>> aliases;
  for (int64_t i = 0; i < count; ++i) aliases.push_back({{i}, {i, {}}});
  const xla::Shape results = xla::ShapeUtil::MakeTupleShape(absl::MakeSpan(shapes).first(count));
  return xla::CustomCallWithLayout(builder, kTarget, all, results, shapes, attributes(operands),
                                   /*has_side_effect=*/false, aliases, /*literal=*/nullptr,
                                   xla::CustomCallSchedule::SCHEDULE_NONE,
                                   xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
}

}  // namespace

std::vector<XlaOp> update_by_call(const Operands& operands) {
  xla::XlaBuilder* builder = operands.variables[0].builder();
  const XlaOp results = builder->ReportErrorOrReturn([&] { return call(builder, operands); });
  std::vector<XlaOp> made;
  for (size_t i = 0; i < operands.variables.size(); ++i) made.push_back(xla::GetTupleElement(results, i));
  return made;
}

}  // namespace tfopt
