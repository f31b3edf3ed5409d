// Sparse coding: the codes of samples for given atoms, and the atoms for given codes, by coordinate descent.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfopt {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status codes_shape(InferenceContext* c) {
  ShapeHandle gram, target, unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &gram));
  TF_RETURN_IF_ERROR(c->Merge(c->Matrix(c->UnknownDim(), c->Dim(gram, 0)), c->input(1), &target));
  TF_RETURN_IF_ERROR(c->Merge(c->Vector(c->Dim(target, 0)), c->input(2), &unused));
  TF_RETURN_IF_ERROR(c->Merge(target, c->input(3), &target));
  for (int i = 4; i < 7; ++i) TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 0, &unused));
  c->set_output(0, target);
  return absl::OkStatus();
}

absl::Status atoms_shape(InferenceContext* c) {
  ShapeHandle square, atoms;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &square));
  TF_RETURN_IF_ERROR(c->Merge(c->Matrix(c->Dim(square, 0), c->UnknownDim()), c->input(1), &atoms));
  TF_RETURN_IF_ERROR(c->Merge(atoms, c->input(2), &atoms));
  c->set_output(0, atoms);
  return absl::OkStatus();
}

REGISTER_OP("TfoptSparseCodes")
    .Input("gram: T")     // WWᵀ, [atoms, atoms]
    .Input("target: T")   // of each sample Wx, [samples, atoms]
    .Input("squares: T")  // ‖x‖², [samples]
    .Input("start: T")    // codes, [samples, atoms]
    .Input("l1: double")
    .Input("tolerance: double")
    .Input("passes: int32")
    .Output("codes: T")
    .Attr("T: {float, double}")
    .SetShapeFn(codes_shape)
    .Doc("Codes h of least ‖x − Wᵀh‖² + λ‖h‖₁, each until its duality gap is at most tolerance ‖x‖².");

REGISTER_OP("TfoptSparseAtoms")
    .Input("codes_by_codes: T")   // [atoms, atoms]
    .Input("codes_by_inputs: T")  // [atoms, features]
    .Input("start: T")            // atoms, [atoms, features]
    .Output("atoms: T")
    .Attr("passes: int >= 1")
    .Attr("T: {float, double}")
    .SetShapeFn(atoms_shape)
    .Doc("Atoms, each in turn at its minimum in the unit ball, the others held.");

}  // namespace
}  // namespace tfopt
