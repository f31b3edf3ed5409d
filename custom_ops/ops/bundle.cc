// Many variables as one resource: what TensorFlow does for each resource that a graph captures costs more than
// the update of a small variable.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfopt {
namespace {

REGISTER_OP("TfoptBundle")
    .Input("variables: N * resource")
    .Output("bundle: resource")
    .Attr("N: int >= 1")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc("A list of variables as one resource, which lives as long as its handle.");

}  // namespace
}  // namespace tfopt
