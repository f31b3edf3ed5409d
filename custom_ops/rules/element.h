// Vocabulary of the element rules. A rule is written once, for a type A that is float, double, or an
// expression of XLA, and never includes TensorFlow.
#pragma once

#if defined(__CUDACC__)
#define TFOPT_ELEMENT __host__ __device__ __forceinline__ static
#else
// Always inline: out of line, the linker would keep one copy for all instruction sets.
#define TFOPT_ELEMENT __attribute__((always_inline)) static inline
#endif

// Declares the slots of a rule, in the order in which Python lists them, and their number and names.
#define TFOPT_SLOTS(...)                                      \
  template <class A>                                          \
  struct Slots {                                              \
    A __VA_ARGS__;                                            \
  };                                                          \
  static constexpr int kSlots = sizeof(Slots<char>);          \
  static constexpr const char* slot_names() { return #__VA_ARGS__; }

#define TFOPT_NO_SLOTS           \
  template <class A>             \
  struct Slots {};               \
  static constexpr int kSlots = 0; \
  static constexpr const char* slot_names() { return ""; }

// Declares what is the same for all elements of a step. Names are those of the Python rule's scalars.
#define TFOPT_SCALARS(...)                               \
  template <class A>                                     \
  struct Scalars {                                       \
    A __VA_ARGS__;                                       \
  };                                                     \
  static constexpr int kScalars = sizeof(Scalars<char>); \
  static constexpr const char* scalar_names() { return #__VA_ARGS__; }

namespace tfopt {

// What a rule is unless it says otherwise: its gradient is taken at the iterate.
struct Rule {
  static constexpr bool kLooksAhead = false;
};

TFOPT_ELEMENT float root(float x) { return __builtin_sqrtf(x); }
TFOPT_ELEMENT double root(double x) { return __builtin_sqrt(x); }

// The larger of the two; NaN where the newer one is NaN.
template <class A>
TFOPT_ELEMENT A larger(A old, A newer) {
  return old > newer ? old : newer;
}

// max(x, 0); NaN stays NaN.
template <class A>
TFOPT_ELEMENT A positive_part(A x) {
  return x < A(0) ? A(0) : x;
}

// One of three values, by the sign of x.
template <class A>
TFOPT_ELEMENT A by_sign(A x, A positive, A zero, A negative) {
  return x > A(0) ? positive : (x < A(0) ? negative : zero);
}

// The running mean that moves by `weight` towards x; above ½ from the other end, where an old mean far above
// x would swallow it.
template <class A>
TFOPT_ELEMENT A toward(A mean, A x, A weight) {
  return weight > A(0.5) ? x + (mean - x) * (A(1) - weight) : mean + (x - mean) * weight;
}

}  // namespace tfopt
