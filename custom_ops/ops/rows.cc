// Products and sums of long vectors. Matrices whose rows they are can be variables: what an op reads of them it
// holds only while it runs, so that a row can be written in place afterwards.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfopt {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Number and length of the rows that the first inputs hold, as far as they are known; so many inputs that are no
// rows lie between the variables and the tensors.
absl::Status count_rows(InferenceContext* c, int variables, int tensors, DimensionHandle* rows,
                        DimensionHandle* length, int between = 0) {
  *rows = c->MakeDim(0);
  for (int i = 0; i < variables + tensors; ++i) {
    ShapeHandle shape = c->input(i < variables ? i : i + between);
    if (i < variables) {
      const auto* held = c->input_handle_shapes_and_types(i);
      shape = held && held->size() == 1 ? held->front().shape : c->UnknownShape();
    }
    DimensionHandle own = c->UnknownDim();
    if (c->RankKnown(shape)) {
      TF_RETURN_IF_ERROR(c->WithRankAtLeast(shape, 1, &shape));
      TF_RETURN_IF_ERROR(c->WithRankAtMost(shape, 2, &shape));
      TF_RETURN_IF_ERROR(c->Merge(*length, c->Dim(shape, -1), length));
      own = c->Rank(shape) == 1 ? c->MakeDim(1) : c->Dim(shape, 0);
    }
    TF_RETURN_IF_ERROR(c->Add(*rows, own, rows));
  }
  return absl::OkStatus();
}

absl::Status products_shape(InferenceContext* c) {
  int variables = 0, tensors = 0, vectors = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("V", &variables));
  TF_RETURN_IF_ERROR(c->GetAttr("R", &tensors));
  TF_RETURN_IF_ERROR(c->GetAttr("K", &vectors));
  DimensionHandle rows, length = c->UnknownDim();
  TF_RETURN_IF_ERROR(count_rows(c, variables, tensors, &rows, &length));
  for (int i = variables + tensors; i < c->num_inputs(); ++i) {
    ShapeHandle vector;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 1, &vector));
    TF_RETURN_IF_ERROR(c->Merge(length, c->Dim(vector, 0), &length));
  }
  c->set_output(0, c->Matrix(rows, c->MakeDim(vectors)));
  return absl::OkStatus();
}

absl::Status combination_shape(InferenceContext* c) {
  int variables = 0, tensors = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("V", &variables));
  TF_RETURN_IF_ERROR(c->GetAttr("R", &tensors));
  DimensionHandle rows, length = c->UnknownDim();
  TF_RETURN_IF_ERROR(count_rows(c, variables, tensors, &rows, &length));
  ShapeHandle factors;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(variables + tensors), 1, &factors));
  TF_RETURN_IF_ERROR(c->Merge(rows, c->Dim(factors, 0), &rows));
  c->set_output(0, c->Vector(length));
  return absl::OkStatus();
}

absl::Status move_shape(InferenceContext* c) {
  int variables = 0, tensors = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("V", &variables));
  TF_RETURN_IF_ERROR(c->GetAttr("R", &tensors));
  DimensionHandle rows, length = c->UnknownDim();
  constexpr int kEnds = 4;
  TF_RETURN_IF_ERROR(count_rows(c, variables, tensors, &rows, &length, kEnds));
  for (int i = variables; i < variables + kEnds; ++i) {
    ShapeHandle vector;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 1, &vector));
    TF_RETURN_IF_ERROR(c->Merge(length, c->Dim(vector, 0), &length));
  }
  TF_RETURN_IF_ERROR(c->Add(rows, 2, &rows));
  c->set_output(0, c->Vector(length));
  c->set_output(1, c->Vector(length));
  c->set_output(2, c->Matrix(rows, 2));
  c->set_output(3, c->Scalar());
  c->set_output(4, c->Scalar());
  return absl::OkStatus();
}

absl::Status descent_shape(InferenceContext* c) {
  TF_RETURN_IF_ERROR(combination_shape(c));
  ShapeHandle gradient;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(c->num_inputs() - 1), 1, &gradient));
  TF_RETURN_IF_ERROR(c->Merge(c->output(0), gradient, &gradient));
  c->set_output(0, gradient);
  c->set_output(1, c->Vector(2));
  return absl::OkStatus();
}

absl::Status write_shape(InferenceContext* c) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 0, &unused));
  return c->WithRank(c->input(2), 1, &unused);
}

REGISTER_OP("TfoptRowProducts")
    .Input("variables: V * resource")  // matrices, or vectors, before the others
    .Input("rows: R * T")              // the same as tensors
    .Input("vectors: K * T")
    .Output("products: double")  // [all rows, vectors]
    .Attr("V: int >= 0")
    .Attr("R: int >= 0")
    .Attr("K: int >= 1")
    .Attr("T: {float, double}")
    .SetIsStateful()
    .SetShapeFn(products_shape)
    .Doc("Products of rows with vectors, summed in double, in one pass.");

REGISTER_OP("TfoptRowCombination")
    .Input("variables: V * resource")
    .Input("rows: R * T")
    .Input("factors: double")  // one for each of all rows
    .Output("combination: T")
    .Attr("V: int >= 0")
    .Attr("R: int >= 0")
    .Attr("T: {float, double}")
    .SetIsStateful()
    .SetShapeFn(combination_shape)
    .Doc("Sum of rows times factors, in double, in one pass; where a factor is 0 the row does not matter.");

REGISTER_OP("TfoptRowMove")
    .Input("variables: V * resource")
    .Input("point: T")
    .Input("iterate: T")
    .Input("gradient: T")
    .Input("last_gradient: T")
    .Input("rows: R * T")
    .Output("step: T")            // s, point less iterate
    .Output("change: T")          // y, gradient less last gradient
    .Output("products: double")   // [all rows, s and y; y and gradient]
    .Output("step_square: double")
    .Output("largest: double")    // absolute component of the gradient
    .Attr("V: int >= 0")
    .Attr("R: int >= 0")
    .Attr("T: {float, double}")
    .SetIsStateful()
    .SetShapeFn(move_shape)
    .Doc("From iterate to iterate: s, y, and what a direction wants to know of them and of rows, in one pass.");

REGISTER_OP("TfoptRowDescent")
    .Input("variables: V * resource")
    .Input("rows: R * T")
    .Input("factors: double")
    .Input("gradient: T")
    .Output("direction: T")      // the sum of rows times factors
    .Output("products: double")  // of the direction with the gradient and with itself
    .Attr("V: int >= 0")
    .Attr("R: int >= 0")
    .Attr("T: {float, double}")
    .SetIsStateful()
    .SetShapeFn(descent_shape)
    .Doc("As TfoptRowCombination, and how the sum lies to the gradient, in the same pass.");

REGISTER_OP("TfoptWriteRow")
    .Input("variable: resource")  // a matrix
    .Input("index: int32")        // below 0: nothing is written
    .Input("row: T")
    .Attr("T: {float, double}")
    .SetIsStateful()
    .SetShapeFn(write_shape)
    .Doc("Replaces one row of a matrix, in place unless someone else holds its value.");

}  // namespace
}  // namespace tfopt
