// Puts sums together that different blocks have taken.
#pragma once
#include "custom_ops/norm/cuda/normalize.h"

namespace tfopt {
namespace cuda {

// Enqueue; null, or what went wrong.
const char* start_statistics(ForwardPass& pass, void* stream);    // mean, variance and coefficients, of `partial`
const char* start_coefficients(BackwardPass& pass, void* stream);  // of `partial`
const char* start_parameters(BackwardPass& pass, void* stream);    // ∇γ and ∇β
const char* start_zeros(float* numbers, int64_t count, void* stream);

}  // namespace cuda
}  // namespace tfopt
