/* The fused update on NVIDIA GPUs for programs of any kind: plain C, pointers to device memory, no framework.
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

enum { TFOPT_MOST_SLOTS = 3, TFOPT_NORM_WORKSPACE = 1024 };

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
  int32_t gradient_type; /* the weights' type, or the slots' */
  int32_t tensor_count;
  int32_t group_count;
  const tfopt_tensor* tensors;
  const double* scalars;   /* [groups][scalars of the rule] */
  const double* following; /* the coming step's; null unless the rule looks ahead */
  const double* keep;      /* [groups]: factor on the iterate, 1 - decay * rate */
  double average_rate;
  const double* factors; /* null, or on the device: multiplies the gradients too; one for all, or one each */
  int32_t factor_count;  /* 0, 1 or tensor_count */
} tfopt_update;

typedef struct {
  const void* values;
  int64_t size;
} tfopt_values;

/* The rules, a line each: name, slots, scalars, and whether it looks ahead; separated by semicolons. */
TFOPT_API const char* tfopt_cuda_rules(void);

/* Updates weights, slots, averages and accumulators in place. */
TFOPT_API int tfopt_cuda_update(const tfopt_update* update, void* stream, char* message, size_t message_size);

/* The Euclidean norm over all `values` of one type, summed in double, in an order that never changes.
 * `workspace` (TFOPT_NORM_WORKSPACE doubles), `norm` and `factor` lie on the device. `factor`, unless null,
 * receives what clips the values to `limit`, for tfopt_update.factors; NaN where the norm is not finite. */
TFOPT_API int tfopt_cuda_global_norm(int32_t type, const tfopt_values* values, int32_t count, double limit,
                                     double* workspace, double* norm, double* factor, void* stream,
                                     char* message, size_t message_size);

#ifdef __cplusplus
}
#endif
#endif
