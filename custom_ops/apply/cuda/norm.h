// Norms of many tensors, of each and of all together.
#pragma once
#include "custom_ops/apply/cuda/chunks.h"
#include "custom_ops/apply/cuda/launch.h"
#include "custom_ops/apply/table.h"

namespace tfopt {
namespace cuda {

constexpr int kNormTensors = 1088;

struct NormTensor {
  const void* values;
  const void* accumulator;  // null, or added to the values; in the type to compute in
  int64_t size;
};

// Every chunk is summed by a block into a place of its own, then the chunks of every tensor by another: the
// order of all additions is fixed.
struct Norms {
  Chunks<kNormTensors> chunks;
  NormTensor tensors[kNormTensors];
  Squares* by_chunk;   // [chunks]
  Squares* by_tensor;  // [tensors]
  double* each;        // [tensors]; null: not wanted
};
static_assert(sizeof(Norms) <= kParameterBytes);

struct GlobalNorm {
  const Squares* by_tensor;
  int count;
  double limit;
  double *norm, *factor;  // the factor may be null
};

// Enqueue; null, or what went wrong.
const char* start_norms(Norms& norms, Type type, void* stream);
const char* start_global_norm(GlobalNorm& global, void* stream);

}  // namespace cuda
}  // namespace tfopt
