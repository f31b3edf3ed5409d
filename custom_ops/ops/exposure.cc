// Back from the weights that were shown to the point to train on, in place: what a train step does first where
// somebody looked at the weights. Every step has these operations in a branch, so they take bundles only.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfopt {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status check_scalars(InferenceContext* c) {
  ShapeHandle unused;
  return c->WithRank(c->input(1), 2, &unused);
}

REGISTER_OP("TfoptSwapBundled")
    .Input("bundle: resource")  // of N weights and their averages
    .Attr("N: int >= 1")
    .Attr("T: {float, double, half, bfloat16}")  // of the weights
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc("Exchanges the values of weights and their averages.");

REGISTER_OP("TfoptDisplaceBundled")
    .Input("bundle: resource")  // of N weights and their slots, slot by slot
    .Input("scalars: double")   // [groups, scalars of the rule]
    .Attr("rule: string")       // one that looks ahead
    .Attr("groups: list(int)")  // row of `scalars`, per weight
    .Attr("N: int >= 1")
    .Attr("S: int >= 0")
    .Attr("T: {float, double, half, bfloat16}")  // of the weights
    .SetIsStateful()
    .SetShapeFn(check_scalars)
    .Doc("Moves weights from the iterate to the point where the rule wants its next gradient.");

}  // namespace
}  // namespace tfopt
