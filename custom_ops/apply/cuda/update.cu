// The update of many tensors by one launch. Compiled once per type of weights: TFOPT_WEIGHT is float, double,
// Half or Bfloat16, TFOPT_KERNELS the name of the table it makes.
#include "custom_ops/apply/cuda/update.h"
#include "custom_ops/rules/rules.h"

namespace tfopt {
namespace cuda {
namespace {

// A rule's struct of values from an array of them.
template <class Values, class A>
TFOPT_ELEMENT Values as_struct(const A* from) {
  Values made;
  A* values = reinterpret_cast<A*>(&made);
  for (unsigned k = 0; k < sizeof(Values) / sizeof(A); ++k) values[k] = from[k];
  return made;
}

// Updates with rule R weights of type W by gradients of type G.
template <class R, class W, class G>
struct UpdateWork {
  using A = Compute<W>;
  using Slots = typename R::template Slots<A>;
  using Scalars = typename R::template Scalars<A>;
  static constexpr int kWidth = kAccess / sizeof(W);
  static_assert(R::kSlots <= kMostSlots && R::kScalars <= kMostScalars);

  struct Numbers {
    Scalars now, following;
    A keep, factor, rate;
  };

  TFOPT_ELEMENT void run(const Update<A>& update, uint32_t block, uint32_t thread) {
    const int place = tensor_of(update.chunks, block);
    const UpdateTensor& tensor = update.tensors[place];
    const Numbers numbers = numbers_of(update, tensor);
    const Range range = range_of<kWidth>(block - update.chunks.first[place], tensor.size, tensor.aligned);
    for (int64_t i = range.begin + thread * kWidth; i < range.wide; i += kThreads * kWidth)
      elements<kWidth>(tensor, i, numbers);
    for (int64_t i = range.wide + thread; i < range.end; i += kThreads) elements<1>(tensor, i, numbers);
  }

  TFOPT_ELEMENT Numbers numbers_of(const Update<A>& update, const UpdateTensor& tensor) {
    const Group<A>& group = update.groups[tensor.group];
    const double factor = update.factors ? tensor.factor * update.factors[tensor.factor_place] : tensor.factor;
    return {as_struct<Scalars>(group.scalars), as_struct<Scalars>(group.following), group.keep,
            static_cast<A>(factor), update.average_rate};
  }

  template <int n>
  TFOPT_ELEMENT void elements(const UpdateTensor& tensor, int64_t i, const Numbers& numbers) {
    A gradient[n], point[n], average[n], slots[R::kSlots + 1][n];
    load<n, W>(tensor.weight, i, point);
    for (int k = 0; k < R::kSlots; ++k) load<n, A>(tensor.slots[k], i, slots[k]);
    if (tensor.average) load<n, A>(tensor.average, i, average);
    load_gradient<n>(tensor, i, gradient);
    for (int k = 0; k < n; ++k) {
      const A iterate = element<n>(gradient[k], point[k], slots, k, numbers);
      if (tensor.average) average[k] = average[k] + (iterate - average[k]) * numbers.rate;
    }
    store<n, W>(point, tensor.weight, i);
    for (int k = 0; k < R::kSlots; ++k) store<n, A>(slots[k], tensor.slots[k], i);
    if (tensor.average) store<n, A>(average, tensor.average, i);
  }

  template <int n>
  TFOPT_ELEMENT void load_gradient(const UpdateTensor& tensor, int64_t i, A* gradient) {
    for (int k = 0; k < n; ++k) gradient[k] = A(0);
    if (tensor.gradient) load<n, G>(tensor.gradient, i, gradient);
    if (!tensor.accumulator) return;
    A total[n];
    load<n, A>(tensor.accumulator, i, total);
    for (int k = 0; k < n; ++k) {
      gradient[k] = gradient[k] + total[k];
      total[k] = A(0);
    }
    store<n, A>(total, tensor.accumulator, i);
  }

  // Updates the point and the slots; returns the iterate.
  template <int n>
  TFOPT_ELEMENT A element(A gradient, A& point, A (*slots)[n], int at, const Numbers& numbers) {
    Slots state;
    A* values = reinterpret_cast<A*>(&state);
    for (int k = 0; k < R::kSlots; ++k) values[k] = slots[k][at];
    A iterate = point;
    if constexpr (R::kLooksAhead) iterate = iterate - R::template ahead<A>(state, numbers.now);
    iterate = iterate * numbers.keep;
    R::template update<A>(gradient * numbers.factor, iterate, state, numbers.now);
    point = iterate;
    if constexpr (R::kLooksAhead) point = iterate + R::template ahead<A>(state, numbers.following);
    for (int k = 0; k < R::kSlots; ++k) slots[k][at] = values[k];
    return iterate;
  }
};

template <class R, class G>
const char* start_update(Update<Compute<TFOPT_WEIGHT>>& update, void* stream) {
  return start<UpdateWork<R, TFOPT_WEIGHT, G>>(update.chunks.total(), update, stream);
}

}  // namespace

const Kernels<Compute<TFOPT_WEIGHT>> TFOPT_KERNELS = {
    {
#define TFOPT_RULE(name, Struct) start_update<Struct, TFOPT_WEIGHT>,
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
    },
    {
#define TFOPT_RULE(name, Struct) start_update<Struct, Compute<TFOPT_WEIGHT>>,
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
    },
};

}  // namespace cuda
}  // namespace tfopt
