// Elements in memory: the types they compute in, and several of them in accesses of 16 bytes.
#pragma once
#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "custom_ops/apply/half.h"

namespace tfopt {
namespace cuda {

constexpr int kAccess = 16;  // bytes, the widest access that every GPU has

// The type that weights of type W compute in.
template <class W>
struct ComputeOf {
  using Type = float;
};
template <>
struct ComputeOf<double> {
  using Type = double;
};
template <class W>
using Compute = typename ComputeOf<W>::Type;

#if defined(__CUDACC__)
using Words = uint4;
using HalfWords = uint2;
#else
struct alignas(kAccess) Words {
  uint32_t x, y, z, w;
};
struct alignas(kAccess / 2) HalfWords {
  uint32_t x, y;
};
#endif

// n elements of T by accesses of 16 bytes, or of 8 where there are no more.
template <int n, class T>
struct Access {
  static_assert(n * sizeof(T) % kAccess == 0 || n * sizeof(T) == sizeof(HalfWords));
  using Type = std::conditional_t<n * sizeof(T) % kAccess == 0, Words, HalfWords>;
  static constexpr int kCount = n * sizeof(T) / sizeof(Type);
};

// Past the nearest cache, which holds nothing that is needed twice. These functions also keep the compiler from
// taking an access apart.
template <class W>
TFOPT_ELEMENT W read_words(const W* from) {
#if defined(__CUDA_ARCH__)
  return __ldcg(from);
#else
  return *from;
#endif
}

template <class W>
TFOPT_ELEMENT void write_words(W words, W* to) {
#if defined(__CUDA_ARCH__)
  __stcg(to, words);
#else
  *to = words;
#endif
}

// n elements at `from`: one by itself, several by accesses that need their alignment.
template <int n, class T>
TFOPT_ELEMENT void read(const T* from, T* to) {
  if constexpr (n == 1) {
    *to = *from;
  } else {
    using Type = typename Access<n, T>::Type;
    Type words[Access<n, T>::kCount];
    for (int k = 0; k < Access<n, T>::kCount; ++k) words[k] = read_words(reinterpret_cast<const Type*>(from) + k);
    memcpy(to, words, sizeof words);
  }
}

template <int n, class T>
TFOPT_ELEMENT void write(const T* from, T* to) {
  if constexpr (n == 1) {
    *to = *from;
  } else {
    using Type = typename Access<n, T>::Type;
    Type words[Access<n, T>::kCount];
    memcpy(words, from, sizeof words);
    for (int k = 0; k < Access<n, T>::kCount; ++k) write_words(words[k], reinterpret_cast<Type*>(to) + k);
  }
}

// Elements i to i + n of an array of T, in the type to compute in.
template <int n, class T, class A>
TFOPT_ELEMENT void load(const void* array, int64_t i, A* to) {
  T elements[n];
  read<n>(static_cast<const T*>(array) + i, elements);
  for (int k = 0; k < n; ++k) to[k] = widen(elements[k]);
}

template <int n, class T, class A>
TFOPT_ELEMENT void store(const A* from, void* array, int64_t i) {
  T elements[n];
  for (int k = 0; k < n; ++k) narrow(from[k], elements[k]);
  write<n>(elements, static_cast<T*>(array) + i);
}

}  // namespace cuda
}  // namespace tfopt
