// Norms of a list of gradients, each and all together, as the fused update takes the gradients.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfopt {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status set_shapes(InferenceContext* c) {
  ShapeHandle unused;
  int count = 0, rows = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("N", &count));
  TF_RETURN_IF_ERROR(c->GetAttr("R", &rows));
  for (int i = c->num_inputs() - rows; i < c->num_inputs(); ++i)
    TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 1, &unused));
  c->set_output(0, c->Scalar());
  c->set_output(1, c->Vector(count));
  return absl::OkStatus();
}

REGISTER_OP("TfoptGlobalNorm")
    .Input("accumulators: C * resource")  // none, or aligned with the gradients: added to them
    .Input("gradients: N * G")
    .Input("rows: R * int64")  // of the gradients that are rows of a variable: to which they belong
    .Output("norm: double")    // of all
    .Output("norms: double")   // [N]: of each
    .Attr("N: int >= 1")
    .Attr("C: int >= 0")
    .Attr("R: int >= 0")
    .Attr("sparse: list(int)")  // which gradients are rows, in growing order
    .Attr("G: {float, double, half, bfloat16}")
    .SetIsStateful()
    .SetShapeFn(set_shapes)
    .Doc("Euclidean norms of gradients, in double; not finite where an element is not.");

}  // namespace
}  // namespace tfopt
