#include "custom_ops/apply/cuda/norm.h"

namespace tfopt {
namespace cuda {
namespace {

// Squares of floats are exact in double, and a sum of them cannot overflow.
TFOPT_ELEMENT void add_square(float x, Squares& sum) {
  const double wide = x;
  sum.plain += wide * wide;
}

// NaN counts among the plain ones, so that their sum becomes NaN.
TFOPT_ELEMENT void add_square(double x, Squares& sum) {
  const bool large = x > 0x1p480 || x < -0x1p480;
  const double scaled = large ? x * 0x1p-600 : x;
  (large ? sum.large : sum.plain) += scaled * scaled;
}

TFOPT_ELEMENT double root_of(const Squares& sum) {
  if (sum.large == 0) return root(sum.plain);
  return root(sum.large + sum.plain * 0x1p-600 * 0x1p-600) * 0x1p600;
}

// The squares of a chunk of a tensor of type W.
template <class W>
struct ChunkWork {
  using A = Compute<W>;
  static constexpr int kWidth = kAccess / sizeof(W);

  TFOPT_ELEMENT Squares sum(const Norms& norms, uint32_t block, uint32_t thread) {
    const int place = tensor_of(norms.chunks, block);
    const NormTensor& tensor = norms.tensors[place];
    const bool aligned = is_aligned(tensor.values, kAccess) && is_aligned(tensor.accumulator, kAccess);
    const Range range = range_of<kWidth>(block - norms.chunks.first[place], tensor.size, aligned);
    Squares sum = {0, 0};
    for (int64_t i = range.begin + thread * kWidth; i < range.wide; i += kThreads * kWidth)
      add_squares<kWidth>(tensor, i, sum);
    for (int64_t i = range.wide + thread; i < range.end; i += kThreads) add_squares<1>(tensor, i, sum);
    return sum;
  }

  template <int n>
  TFOPT_ELEMENT void add_squares(const NormTensor& tensor, int64_t i, Squares& sum) {
    A elements[n], accumulated[n];
    load<n, W>(tensor.values, i, elements);
    for (int k = 0; k < n; ++k) accumulated[k] = A(0);
    if (tensor.accumulator) load<n, A>(tensor.accumulator, i, accumulated);
    for (int k = 0; k < n; ++k) add_square(elements[k] + accumulated[k], sum);
  }

  TFOPT_ELEMENT void finish(const Norms& norms, uint32_t block, const Squares& sum) { norms.by_chunk[block] = sum; }
};

// The squares of a tensor, from those of its chunks.
struct TensorWork {
  TFOPT_ELEMENT Squares sum(const Norms& norms, uint32_t block, uint32_t thread) {
    Squares sum = {0, 0};
    for (uint32_t k = norms.chunks.first[block] + thread; k < norms.chunks.first[block + 1]; k += kThreads)
      add(sum, norms.by_chunk[k]);
    return sum;
  }

  TFOPT_ELEMENT void finish(const Norms& norms, uint32_t block, const Squares& sum) {
    norms.by_tensor[block] = sum;
    if (norms.each) norms.each[block] = root_of(sum);
  }
};

struct GlobalWork {
  TFOPT_ELEMENT Squares sum(const GlobalNorm& global, uint32_t, uint32_t thread) {
    Squares sum = {0, 0};
    for (int k = thread; k < global.count; k += kThreads) add(sum, global.by_tensor[k]);
    return sum;
  }

  TFOPT_ELEMENT void finish(const GlobalNorm& global, uint32_t, const Squares& sum) {
    const double norm = root_of(sum), limit = global.limit;
    *global.norm = norm;
    // The difference makes NaN of an infinite norm, as clipping in TensorFlow does.
    if (global.factor) *global.factor = limit / (norm < limit ? limit : norm) + (norm - norm);
  }
};

const char* start_chunks(Norms& norms, Type type, void* stream) {
  const uint32_t blocks = norms.chunks.total();
  if (!blocks) return nullptr;
  switch (type) {
    case kDouble: return start_sums<ChunkWork<double>>(blocks, norms, stream);
    case kHalf: return start_sums<ChunkWork<Half>>(blocks, norms, stream);
    case kBfloat16: return start_sums<ChunkWork<Bfloat16>>(blocks, norms, stream);
    default: return start_sums<ChunkWork<float>>(blocks, norms, stream);
  }
}

}  // namespace

const char* start_norms(Norms& norms, Type type, void* stream) {
  const char* fault = start_chunks(norms, type, stream);
  return fault ? fault : start_sums<TensorWork>(norms.chunks.count, norms, stream);
}

const char* start_global_norm(GlobalNorm& global, void* stream) { return start_sums<GlobalWork>(1, global, stream); }

}  // namespace cuda
}  // namespace tfopt
