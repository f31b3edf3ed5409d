// The op. One for all rules: they differ in the number of slots and scalars only, which are lists here, so
// that a new rule is a header and a line of the index, and a graph written with this op stays readable.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfopt {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status check_ranks(InferenceContext* c) {
  ShapeHandle unused;
  int rows = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("R", &rows));
  const int first = c->num_inputs() - 6;
  for (int i = first - rows; i < first; ++i) TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 1, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first), 2, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + 1), 2, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + 2), 1, &unused));
  TF_RETURN_IF_ERROR(c->WithRankAtMost(c->input(first + 3), 1, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + 4), 0, &unused));
  return c->WithRank(c->input(first + 5), 0, &unused);
}

REGISTER_OP("TfoptFusedUpdate")
    .Input("weights: N * resource")
    .Input("slots: S * resource")     // slot by slot, each aligned with the weights
    .Input("averages: A * resource")  // none, or aligned with the weights
    .Input("accumulators: C * resource")  // none, or aligned with the weights: added to the gradients, then zeroed
    .Input("gradients: N * G")
    .Input("rows: R * int64")       // of the gradients that are rows of a weight: to which they belong
    .Input("scalars: double")       // [groups, scalars of the rule]
    .Input("following: double")     // the same for the coming step; [0, 0] unless the rule looks ahead
    .Input("keep: double")          // [groups]: 1 − λε
    .Input("factors: double")       // [] or [N]: multiplies the gradients
    .Input("bound: double")         // []: the gradients, once multiplied, are cut off at ±bound
    .Input("average_rate: double")  // []
    .Attr("rule: string")
    .Attr("groups: list(int)")  // row of `scalars`, `following` and `keep`, per weight
    .Attr("N: int >= 1")
    .Attr("S: int >= 0")
    .Attr("A: int >= 0")
    .Attr("C: int >= 0")
    .Attr("R: int >= 0")
    .Attr("sparse: list(int)")  // which gradients are rows, in growing order
    .Attr("T: {float, double, half, bfloat16}")  // of the weights
    .Attr("G: {float, double, half, bfloat16}")  // any that computes in the same type as T
    .SetIsStateful()
    .SetShapeFn(check_ranks)
    .Doc("Updates variables and their slots in place by an element-wise rule, in one pass over memory.");

}  // namespace
}  // namespace tfopt
