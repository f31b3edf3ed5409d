#include "custom_ops/apply/cuda/norm.h"

namespace tfopt {
namespace cuda {
namespace {

// The squares of floats are exact in double.
template <class W>
struct NormWork {
  static constexpr int kWidth = kAccess / sizeof(W);

  TFOPT_ELEMENT double sum(const Norm& norm, uint32_t block, uint32_t thread) {
    double sum = 0;
    for (uint32_t chunk = block; chunk < norm.chunks.first[norm.chunks.count]; chunk += norm.blocks)
      sum += sum_of_chunk(norm, chunk, thread);
    return sum;
  }

  TFOPT_ELEMENT double sum_of_chunk(const Norm& norm, uint32_t chunk, uint32_t thread) {
    const int place = tensor_of(norm.chunks, chunk);
    const NormTensor& tensor = norm.tensors[place];
    const bool aligned = reinterpret_cast<uintptr_t>(tensor.values) % kAccess == 0;
    const Range range = range_of<kWidth>(chunk - norm.chunks.first[place], tensor.size, aligned);
    double sum = 0;
    for (int64_t i = range.begin + thread * kWidth; i < range.wide; i += kThreads * kWidth)
      sum += squares<kWidth>(tensor.values, i);
    for (int64_t i = range.wide + thread; i < range.end; i += kThreads) sum += squares<1>(tensor.values, i);
    return sum;
  }

  template <int n>
  TFOPT_ELEMENT double squares(const void* values, int64_t i) {
    Compute<W> elements[n];
    load<n, W>(values, i, elements);
    double sum = 0;
    for (int k = 0; k < n; ++k) sum += static_cast<double>(elements[k]) * static_cast<double>(elements[k]);
    return sum;
  }

  TFOPT_ELEMENT void finish(const Norm& norm, uint32_t block, double sum) {
    norm.partial[block] = norm.first ? sum : norm.partial[block] + sum;
  }
};

struct TotalWork {
  TFOPT_ELEMENT double sum(const NormTotal& total, uint32_t, uint32_t thread) {
    double sum = 0;
    for (unsigned k = thread; k < kNormBlocks; k += kThreads) sum += total.partial[k];
    return sum;
  }

  TFOPT_ELEMENT void finish(const NormTotal& total, uint32_t, double sum) {
    const double norm = root(sum);
    *total.norm = norm;
    // The difference makes NaN of an infinite norm, as clipping in TensorFlow does.
    if (total.factor) *total.factor = total.limit / (norm < total.limit ? total.limit : norm) + (norm - norm);
  }
};

}  // namespace

const char* start_norm(Norm& norm, Type type, void* stream) {
  switch (type) {
    case kDouble: return start_sums<NormWork<double>>(norm.blocks, norm, stream);
    case kHalf: return start_sums<NormWork<Half>>(norm.blocks, norm, stream);
    case kBfloat16: return start_sums<NormWork<Bfloat16>>(norm.blocks, norm, stream);
    default: return start_sums<NormWork<float>>(norm.blocks, norm, stream);
  }
}

const char* start_total(NormTotal& total, void* stream) { return start_sums<TotalWork>(1, total, stream); }

}  // namespace cuda
}  // namespace tfopt
