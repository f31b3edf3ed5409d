// Inner loops of normalisation. They compute in float; sums that many elements go into are double. Raw pointers only,
// as in custom_ops/apply/table.h.
#pragma once
#include <stdint.h>

namespace tfopt {

// How a stretch of elements finds its statistics and parameters.
enum Reach {
  kUniform,     // one mean, deviation, γ and β for all of it
  kParameters,  // one mean and deviation; γ and β of each element's own
  kColumns,     // all of each element's own
  kReaches
};

// The numbers of a stretch, or of each of its elements, by Reach.
struct Numbers {
  const float* mean;
  const float* inverse;  // 1/√(σ² + ε)
  const float* gamma;
  const float* beta;
  const float* common;   // of the backward pass: Σh / (n √(σ² + ε)), and
  const float* slope;    // Σ(h x̂) / (n (σ² + ε)), where h = γ ∇y
};

// Rows of some elements each that lie apart, `step` in the tensors and `parameter_step` in γ and β.
struct Block {
  int64_t rows, length, step, parameter_step;
};

// For tensors of one type; x, ∇y, y and ∇x are of it.
struct NormalizeLoops {
  float (*first)(const void* x);
  // Adds to sums[0] and sums[1] the sum of x − shift and of its square.
  void (*add_moments)(const void* x, float shift, int64_t n, double* sums);
  // The same for each column of a block.
  void (*add_column_moments)(const void* x, const Block& block, const float* shift, double* sums, double* squares);
  // y = (x − mean) inverse γ + β; `past` the caches, where y is too large to be met there again: other threads then see
  // it after `finish_past`.
  void (*apply[kReaches])(const void* x, const Block& block, const Numbers& by, void* y, bool past);
  // Adds to sums[0] and sums[1] the sum of ∇y and of ∇y (x − mean).
  void (*add_products)(const void* x, const void* upstream, float mean, int64_t n, double* sums);
  // The same for each column of a block.
  void (*add_column_products)(const void* x, const void* upstream, const Block& block, const float* mean,
                              double* sums, double* products);
  // One row under kParameters: adds ∇y x̂ to by_gamma and ∇y to by_beta, and Σ γ ∇y and Σ γ ∇y x̂ to sums[0] and
  // sums[1].
  void (*add_row)(const void* x, const void* upstream, const Numbers& by, int64_t n, float* by_gamma,
                  float* by_beta, double* sums);
  // One row under kColumns: the same, the sums for each column.
  void (*add_elements)(const void* x, const void* upstream, const Numbers& by, int64_t n, float* by_gamma,
                       float* by_beta, double* sums, double* products);
  // ∇x = γ inverse ∇y − (x − mean) slope − common; ∇x may lie where ∇y does.
  void (*apply_backward[kReaches])(const void* x, const void* upstream, const Block& block, const Numbers& by,
                                   void* by_x, bool past);
};

}  // namespace tfopt
