/* The fused update and normalisation on NVIDIA GPUs for programs of any kind: plain C, pointers to device memory, no
 * framework.
 *
 * Every function checks what it is given before anything is enqueued, and returns TFOPT_OK or an error code with
 * a sentence in `message`. Work runs on `stream` (a cudaStream_t, null for the default one) of the current
 * device; lists and numbers are read before the function returns, device memory when the stream gets there.
 * Whether a pointer leads to memory of that device, of that size, only the caller knows. */
#ifndef TFOPT_APPLY_CUDA_API_H_
#define TFOPT_APPLY_CUDA_API_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TFOPT_API __attribute__((visibility("default")))

enum { TFOPT_OK = 0, TFOPT_BAD_ARGUMENT = 1, TFOPT_DEVICE_ERROR = 2 };

/* Types of weights and gradients. Slots, averages and accumulators are double beside double, else float. */
enum { TFOPT_FLOAT = 0, TFOPT_DOUBLE = 1, TFOPT_HALF = 2, TFOPT_BFLOAT16 = 3 };

enum { TFOPT_MOST_SLOTS = 3 };

/* One variable. Pointers need the alignment of their elements; where all have 16 bytes the update is fastest. */
typedef struct {
  const void* gradient; /* null where the accumulator holds all of it */
  void* weight;
  void* slots[TFOPT_MOST_SLOTS];
  void* average;     /* null, or moved towards the new iterate by `average_rate` */
  void* accumulator; /* null, or added to the gradient and set to zero */
  int64_t size;
  double factor; /* multiplies the gradient */
  int32_t group; /* row of `scalars`, `following` and `keep` */
} tfopt_tensor;

/* A step. No buffer may be listed twice. */
typedef struct {
  const char* rule;
  int32_t weight_type;
  int32_t gradient_type; /* double beside double, else any of the others */
  int32_t tensor_count;
  int32_t group_count;
  const tfopt_tensor* tensors;
  const double* scalars;   /* [groups][scalars of the rule] */
  const double* following; /* the coming step's; null unless the rule looks ahead */
  const double* keep;      /* [groups]: factor on the iterate, 1 - decay * rate */
  double average_rate;
  double bound; /* gradients, once multiplied, are cut off at +-bound; infinite: they are not */
  const double* factors; /* null, or on the device: multiplies the gradients too; one for all, or one each */
  int32_t factor_count;  /* 0, 1 or tensor_count */
} tfopt_update;

typedef struct {
  const void* values;
  const void* accumulator; /* null, or added to the values */
  int64_t size;
} tfopt_values;

/* Euclidean norms, summed in double in an order that never changes. Results lie on the device. */
typedef struct {
  int32_t type; /* of the values */
  int32_t count;
  const tfopt_values* values;
  double* workspace; /* on the device */
  int64_t workspace_size; /* in doubles: at least tfopt_cuda_norms_workspace(values, count) */
  double* norm;   /* of all */
  double* each;   /* [count]; null: not wanted */
  double* factor; /* what clips all to `limit`, for tfopt_update.factors; NaN if the norm is not finite; or null */
  double limit;
} tfopt_norms;

/* A tensor [outer, inner, groups, width]: every (outer, group) has statistics of its own, over (inner, width). Gamma
 * and beta have `parameters` numbers, each for `run` elements of a sample in a row, and start again behind the last. */
typedef struct {
  int64_t outer, inner, groups, width, parameters, run;
} tfopt_geometry;

/* y = gamma (x - mean) / sqrt(variance + epsilon) + beta; sums in double in an order that never changes. */
typedef struct {
  int32_t type; /* of x and y: not double */
  tfopt_geometry geometry;
  double epsilon;
  const void* x;
  const float* gamma;
  const float* beta;
  void* y;
  float* mean;     /* [outer, groups]; 0 where there is no element */
  float* variance;
  double* workspace;      /* on the device, at an address divisible by 16 */
  int64_t workspace_size; /* in doubles: at least tfopt_cuda_normalize_workspace(&geometry) */
} tfopt_normalize;

/* The gradients with respect to x, gamma and beta, given the one with respect to y. */
typedef struct {
  int32_t type; /* of x and both gradients like it: not double */
  tfopt_geometry geometry;
  double epsilon;
  const void* x;
  const void* upstream; /* with respect to y */
  const float* gamma;
  const float* mean; /* as tfopt_cuda_normalize has written them */
  const float* variance;
  void* by_x; /* may be `upstream` */
  float* by_gamma;
  float* by_beta;
  double* workspace;
  int64_t workspace_size; /* in doubles: at least tfopt_cuda_normalize_backward_workspace(&geometry) */
} tfopt_normalize_backward;

/* The rules, a line each: name, slots, scalars, and whether it looks ahead; separated by semicolons. */
TFOPT_API const char* tfopt_cuda_rules(void);

/* Updates weights, slots, averages and accumulators in place. */
TFOPT_API int tfopt_cuda_update(const tfopt_update* update, void* stream, char* message, size_t message_size);

/* Doubles that the norms of such a list need; 0 where the list is wrong, which tfopt_cuda_norms will tell. */
TFOPT_API int64_t tfopt_cuda_norms_workspace(const tfopt_values* values, int32_t count);

TFOPT_API int tfopt_cuda_norms(const tfopt_norms* norms, void* stream, char* message, size_t message_size);

/* Doubles that the passes over such a tensor need; 0 where the geometry is wrong, which the passes will tell. */
TFOPT_API int64_t tfopt_cuda_normalize_workspace(const tfopt_geometry* geometry);
TFOPT_API int64_t tfopt_cuda_normalize_backward_workspace(const tfopt_geometry* geometry);

TFOPT_API int tfopt_cuda_normalize(const tfopt_normalize* step, void* stream, char* message, size_t message_size);
TFOPT_API int tfopt_cuda_normalize_backward(const tfopt_normalize_backward* step, void* stream, char* message,
                                            size_t message_size);

#ifdef __cplusplus
}
#endif
#endif
