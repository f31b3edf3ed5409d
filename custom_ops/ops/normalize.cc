// Normalisation of a tensor seen as [outer, inner, groups, width]: each (outer, group) by the mean and variance of
// its elements. γ and β have a number for each run of `run` elements and start again behind their last.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfopt {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status forward_shapes(InferenceContext* c) {
  ShapeHandle x, gamma;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &gamma));
  TF_RETURN_IF_ERROR(c->Merge(gamma, c->input(2), &gamma));
  c->set_output(0, x);
  c->set_output(1, c->Matrix(c->Dim(x, 0), c->Dim(x, 2)));
  c->set_output(2, c->Matrix(c->Dim(x, 0), c->Dim(x, 2)));
  return absl::OkStatus();
}

absl::Status backward_shapes(InferenceContext* c) {
  ShapeHandle x, gamma, mean;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
  TF_RETURN_IF_ERROR(c->Merge(x, c->input(1), &x));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &gamma));
  TF_RETURN_IF_ERROR(c->Merge(c->Matrix(c->Dim(x, 0), c->Dim(x, 2)), c->input(3), &mean));
  TF_RETURN_IF_ERROR(c->Merge(mean, c->input(4), &mean));
  c->set_output(0, x);
  c->set_output(1, gamma);
  c->set_output(2, gamma);
  return absl::OkStatus();
}

REGISTER_OP("TfoptNormalize")
    .Input("x: T")
    .Input("gamma: float")
    .Input("beta: float")
    .Output("y: T")
    .Output("mean: float")      // [outer, groups]; 0 where there is no element
    .Output("variance: float")
    .Attr("run: int >= 1")
    .Attr("epsilon: float")
    .Attr("T: {float, half, bfloat16}")
    .SetShapeFn(forward_shapes)
    .Doc("y = γ (x − μ)/√(σ² + ε) + β with the statistics of each group, computed in float.");

REGISTER_OP("TfoptNormalizeBackward")
    .Input("x: T")
    .Input("upstream: T")  // ∇y
    .Input("gamma: float")
    .Input("mean: float")
    .Input("variance: float")
    .Output("by_x: T")
    .Output("by_gamma: float")
    .Output("by_beta: float")
    .Attr("run: int >= 1")
    .Attr("epsilon: float")
    .Attr("T: {float, half, bfloat16}")
    .SetShapeFn(backward_shapes)
    .Doc("Gradients of TfoptNormalize with respect to x, γ and β.");

}  // namespace
}  // namespace tfopt
