// How threads find elements, their groups and their parameters.
#pragma once
#include "custom_ops/apply/cuda/memory.h"
#include "custom_ops/norm/cuda/normalize.h"

namespace tfopt {
namespace cuda {

// Bit by bit: what a compiler makes of it is a call on a GPU, for which registers are set aside in memory.
TFOPT_ELEMENT int64_t divide_large(int64_t a, int64_t b) {
  int64_t quotient = 0, left = 0;
  TFOPT_ROLLED
  for (int bit = 62; bit >= 0; --bit) {
    left = 2 * left + ((a >> bit) & 1);
    const bool goes = left >= b;
    left -= goes ? b : 0;
    quotient = 2 * quotient + goes;
  }
  return quotient;
}

// Of numbers from 0 to 2^61; hardly any is large.
TFOPT_ELEMENT int64_t divide(int64_t a, int64_t b) {
  if ((a | b) >> 32) return divide_large(a, b);
  return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
}
TFOPT_ELEMENT int64_t remainder(int64_t a, int64_t b) { return a < b ? a : a - divide(a, b) * b; }

// The place of γ and β for an element of a sample.
TFOPT_ELEMENT int64_t parameter_of(const Layout& is, int64_t element) {
  return remainder(is.run == 1 ? element : divide(element, is.run), is.parameters);
}

// Through the nearest cache: others need the same numbers. No kernel writes to them.
TFOPT_ELEMENT float read_kept(const float* from) {
#if defined(__CUDA_ARCH__)
  return __ldg(from);
#else
  return *from;
#endif
}

template <int n>
TFOPT_ELEMENT void read_kept(const float* from, float* to) {
  static_assert(n % 4 == 0);
  Words words[n / 4];
  for (int k = 0; k < n / 4; ++k) {
#if defined(__CUDA_ARCH__)
    words[k] = __ldg(reinterpret_cast<const Words*>(from) + k);
#else
    words[k] = reinterpret_cast<const Words*>(from)[k];
#endif
  }
  memcpy(to, words, sizeof words);
}

// γ or β of n elements of a sample from this one on.
template <int n>
TFOPT_ELEMENT void read_parameters(const Pass& pass, const float* numbers, int64_t element, float* to) {
  const Layout& is = pass.is;
  if constexpr (n > 1) {
    if (pass.direct) return read_kept<n>(numbers + remainder(element, is.parameters), to);
  }
  const int64_t runs = is.run == 1 ? element : divide(element, is.run);
  int64_t left = element - runs * is.run, parameter = remainder(runs, is.parameters);
  for (int k = 0; k < n; ++k) {
    to[k] = read_kept(numbers + parameter);
    if (++left < is.run) continue;
    left = 0;
    if (++parameter == is.parameters) parameter = 0;
  }
}

TFOPT_ELEMENT float inverse_of(float variance, float epsilon) {
#if defined(__CUDA_ARCH__)
  return rsqrtf(variance + epsilon);
#else
  return 1.0f / root(variance + epsilon);
#endif
}

// Mean and variance from the sums of x − shift and of its square. In float these are taken about an element of each
// thread, so that where one element makes up the variance it takes digits from the few of its thread alone; in double
// about the group's first.
struct Moments {
  float mean, variance;
};

TFOPT_ELEMENT Moments moments_of(const Pair& sum, double share, float shift) {
  const double centre = sum.first * share, spread = sum.second * share - centre * centre;
  // NaN stays.
  return {static_cast<float>(shift + centre), static_cast<float>(spread < 0 ? 0 : spread)};
}

// Sums of x − from and of its square, over n elements, as those of x − to.
TFOPT_ELEMENT Pair moved(const Pair& sum, int64_t n, float from, float to) {
  const double by = static_cast<double>(from) - to, all = static_cast<double>(n) * by;
  return {sum.first + all, sum.second + by * (2 * sum.first + all)};
}

template <class T>
TFOPT_ELEMENT float read_one(const void* array, int64_t i) {
  float to;
  load<1, T>(array, i, &to);
  return to;
}

template <class Given>
constexpr bool kIsBackward = std::is_same_v<Given, BackwardPass>;

// Elements of x, and in the backward pass of ∇y.
template <int n, class T, class Given>
TFOPT_ELEMENT void load_both(const Given& pass, int64_t i, float* x, float* upstream) {
  load<n, T>(pass.x, i, x);
  if constexpr (kIsBackward<Given>) load<n, T>(pass.upstream, i, upstream);
}

}  // namespace cuda
}  // namespace tfopt
