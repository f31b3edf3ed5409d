// Sums of squares over many tensors.
#pragma once
#include "custom_ops/apply/cuda/chunks.h"
#include "custom_ops/apply/cuda/launch.h"
#include "custom_ops/apply/table.h"

namespace tfopt {
namespace cuda {

constexpr int kNormTensors = 1300;
constexpr unsigned kNormBlocks = 1024;

struct NormTensor {
  const void* values;
  int64_t size;
};

// Each block adds up the chunks that are congruent to it, into a place of its own: launches follow each other
// on a stream, so that the order of all additions is fixed.
struct Norm {
  Chunks<kNormTensors> chunks;
  NormTensor tensors[kNormTensors];
  double* partial;  // [kNormBlocks]
  unsigned blocks;
  bool first;  // of the launches: nothing is there to add to
};
static_assert(sizeof(Norm) <= kParameterBytes);

struct NormTotal {
  const double* partial;
  double limit;
  double *norm, *factor;  // the factor may be null
};

// Enqueue; null, or what went wrong.
const char* start_norm(Norm& norm, Type type, void* stream);
const char* start_total(NormTotal& total, void* stream);

}  // namespace cuda
}  // namespace tfopt
