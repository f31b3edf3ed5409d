// What a launch of the update takes, and the kernels there are.
#pragma once
#include "custom_ops/apply/cuda/chunks.h"
#include "custom_ops/apply/cuda/launch.h"
#include "custom_ops/apply/table.h"

namespace tfopt {
namespace cuda {

constexpr int kTensors = 368;
constexpr int kGroups = 8;

// What is the same for all elements of some variables.
template <class A>
struct Group {
  A scalars[kMostScalars], following[kMostScalars], keep;
};

struct UpdateTensor {
  const void* gradient;
  void* weight;
  void* slots[kMostSlots];
  void* average;
  void* accumulator;
  int64_t size;
  double factor;
  int32_t factor_place;  // in the factors on the device
  int16_t group;
  bool aligned;  // all pointers, for accesses of several elements
};

template <class A>
struct Launch {
  Chunks<kTensors> chunks;
  UpdateTensor tensors[kTensors];
  Group<A> groups[kGroups];
  const double* factors;  // null: none
  A average_rate, bound;
  int gradient_type;
};
static_assert(sizeof(Launch<float>) <= kParameterBytes && sizeof(Launch<double>) <= kParameterBytes);

// Enqueues a launch; null, or what went wrong.
template <class A>
using StartUpdate = const char* (*)(Launch<A>& update, void* stream);

constexpr int kRules = 0
#define TFOPT_RULE(name, Struct) +1
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
    ;

// For each rule, in the order of the index.
template <class A>
struct Kernels {
  StartUpdate<A> start[kRules];
};

extern const Kernels<float> kFloatKernels;
extern const Kernels<double> kDoubleKernels;
extern const Kernels<float> kHalfKernels;
extern const Kernels<float> kBfloat16Kernels;

}  // namespace cuda
}  // namespace tfopt
