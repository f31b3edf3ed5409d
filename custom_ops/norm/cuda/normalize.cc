#include "custom_ops/norm/cuda/normalize.h"

#include "custom_ops/norm/cuda/combine.h"

namespace tfopt {
namespace cuda {
namespace {

const NormalizeKernels& kernels_of(Type type) {
  return type == kHalf ? kHalfNormalize : type == kBfloat16 ? kBfloat16Normalize : kFloatNormalize;
}

Pair* pairs(double* workspace, int64_t at) { return reinterpret_cast<Pair*>(workspace + at); }

void place(Pass& pass, double* workspace, const Workspace& parts) {
  pass.coefficients = reinterpret_cast<Coefficients*>(workspace + parts.coefficients);
  pass.partial = pairs(workspace, parts.partial);
}

template <class Given>
using Start = const char* (*)(Given& pass, void* stream);

// Null, or what went wrong with the first that failed.
template <class Given>
const char* start_each(std::initializer_list<Start<Given>> all, Given& pass, void* stream) {
  for (const Start<Given> one : all)
    if (const char* fault = one(pass, stream)) return fault;
  return nullptr;
}

const char* zero_both(float* left, float* right, int64_t count, void* stream) {
  const char* fault = start_zeros(left, count, stream);
  return fault ? fault : start_zeros(right, count, stream);
}

}  // namespace

const char* start_normalize(ForwardPass& pass, double* workspace, void* stream) {
  if (pass.is.way == kEmpty) return zero_both(pass.mean, pass.variance, statistics_of(pass.is), stream);
  const NormalizeKernels& kernels = kernels_of(pass.type);
  if (pass.is.way == kHeldRows) return kernels.hold(pass, stream);
  place(pass, workspace, forward_workspace(pass.is));
  return start_each<ForwardPass>({kernels.sum, start_statistics, kernels.apply}, pass, stream);
}

const char* start_normalize(BackwardPass& pass, double* workspace, void* stream) {
  const Layout& is = pass.is;
  if (is.way == kEmpty) return zero_both(pass.by_gamma, pass.by_beta, is.parameters, stream);
  const NormalizeKernels& kernels = kernels_of(pass.type);
  const Workspace parts = backward_workspace(is);
  place(pass, workspace, parts);
  pass.gathered = pairs(workspace, parts.gathered);
  if (is.way == kHeldRows) {
    pass.held_gamma = reinterpret_cast<float*>(workspace + parts.partial);
    pass.held_beta = pass.held_gamma + is.strips * is.row;
    return start_each<BackwardPass>({kernels.hold_backward, start_parameters}, pass, stream);
  }
  if (!is.weighted)
    return start_each<BackwardPass>(
        {kernels.sum_backward, start_coefficients, start_parameters, kernels.apply_backward}, pass, stream);
  pass.separate = pairs(workspace, parts.separate);
  pass.layers = separate_layers(is);
  pass.of_parameter = is.outer * is.sample / is.parameters;
  pass.of_layer = (pass.of_parameter + pass.layers - 1) / pass.layers;
  // ∇x may come to lie where ∇y does, and so comes last.
  return start_each<BackwardPass>({kernels.sum_backward, start_coefficients, kernels.separate, start_parameters,
                                   kernels.apply_backward}, pass, stream);
}

}  // namespace cuda
}  // namespace tfopt
