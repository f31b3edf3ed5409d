// Normalisation on a GPU, forward and backward, in the fewest passes over memory; see custom_ops/norm/layout.h for how
// a tensor lies under its statistics.
//
// Groups that fit into registers, as the rows of layer normalisation, come from memory once. Of larger ones, tiles are
// summed by different blocks; their sums are put together in order; then the results are written.
#pragma once
#include "custom_ops/apply/cuda/launch.h"
#include "custom_ops/norm/cuda/plan.h"
#include "custom_ops/norm/cuda/teams.h"

namespace tfopt {
namespace cuda {

// What belongs to a group: x̂ = (x − mean) inverse; and of the backward pass Σh / (n √(σ² + ε)), and
// Σ(h x̂) / (n (σ² + ε)), where h = γ ∇y.
struct alignas(16) Coefficients {
  float mean, inverse, common, slope;
};

struct Pass : Teams {
  Layout is;
  Type type;  // of x, y and their gradients
  bool wide;    // accesses of 16 bytes to them may be made
  bool direct;  // and to γ and β, which have a parameter for each element
  const void* x;
  const float* gamma;
  float epsilon;
  double share;  // of an element in its group: 1 / their number
  Pair* partial;               // [outer, tiles, columns]
  Coefficients* coefficients;  // [outer, groups]
};

struct ForwardPass : Pass {
  const float* beta;
  void* y;
  float *mean, *variance;
};

struct BackwardPass : Pass {
  const void* upstream;
  const float *mean, *variance;
  void* by_x;
  float *by_gamma, *by_beta;
  float *held_gamma, *held_beta;  // [strips, row], of held rows
  Pair* separate;                 // [layers, parameters]: Σ∇y and Σ∇y x̂, where taken apart
  int64_t layers, of_parameter, of_layer;  // elements of a parameter, and of it of a layer
  Pair* gathered;  // [parameters, parts]
};

// Enqueue one pass over tensors of a type; null, or what went wrong.
struct NormalizeKernels {
  const char* (*hold)(ForwardPass& pass, void* stream);  // all that there is to do
  const char* (*sum)(ForwardPass& pass, void* stream);
  const char* (*apply)(ForwardPass& pass, void* stream);
  const char* (*hold_backward)(BackwardPass& pass, void* stream);
  const char* (*sum_backward)(BackwardPass& pass, void* stream);
  const char* (*apply_backward)(BackwardPass& pass, void* stream);
  const char* (*separate)(BackwardPass& pass, void* stream);
};

extern const NormalizeKernels kFloatNormalize;
extern const NormalizeKernels kHalfNormalize;
extern const NormalizeKernels kBfloat16Normalize;

// Enqueue all of it.
const char* start_normalize(ForwardPass& pass, double* workspace, void* stream);
const char* start_normalize(BackwardPass& pass, double* workspace, void* stream);

}  // namespace cuda
}  // namespace tfopt
