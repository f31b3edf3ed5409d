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

// Updates weights of type W with rule R.
template <class R, class W>
struct UpdateWork {
  using A = Compute<W>;
  using Slots = typename R::template Slots<A>;
  using Scalars = typename R::template Scalars<A>;
  static constexpr int kWidth = kAccess / sizeof(W);
  static_assert(R::kSlots <= kMostSlots && R::kScalars <= kMostScalars);

  struct Numbers {
    Scalars now, following;
    A keep, factor, bound, rate;
  };

  TFOPT_ELEMENT void run(const Launch<A>& update, uint32_t block, uint32_t thread) {
    const int place = tensor_of(update.chunks, block);
    const UpdateTensor& tensor = update.tensors[place];
    const Numbers numbers = numbers_of(update, tensor);
    const Range range = range_of<kWidth>(block - update.chunks.first[place], tensor.size, tensor.aligned);
    TFOPT_ROLLED
    for (int64_t i = range.begin + thread * kWidth; i < range.wide; i += kThreads * kWidth)
      elements<kWidth>(tensor, i, update.gradient_type, numbers);
    TFOPT_ROLLED
    for (int64_t i = range.wide + thread; i < range.end; i += kThreads)
      elements<1>(tensor, i, update.gradient_type, numbers);
  }

  TFOPT_ELEMENT Numbers numbers_of(const Launch<A>& update, const UpdateTensor& tensor) {
    const Group<A>& group = update.groups[tensor.group];
    const double factor = update.factors ? tensor.factor * update.factors[tensor.factor_place] : tensor.factor;
    return {as_struct<Scalars>(group.scalars), as_struct<Scalars>(group.following), group.keep,
            static_cast<A>(factor), update.bound, update.average_rate};
  }

  template <int n>
  TFOPT_ELEMENT void elements(const UpdateTensor& tensor, int64_t i, int gradient_type, const Numbers& numbers) {
    A gradient[n], point[n], average[n], slots[R::kSlots + 1][n];
    load<n, W>(tensor.weight, i, point);
    for (int k = 0; k < R::kSlots; ++k) load<n, A>(tensor.slots[k], i, slots[k]);
    if (tensor.average) load<n, A>(tensor.average, i, average);
    load_gradient<n>(tensor.gradient, i, gradient_type, gradient);
    if (tensor.accumulator) add_accumulated<n>(tensor.accumulator, i, gradient);
    for (int k = 0; k < n; ++k) {
      const A iterate = element<n>(gradient[k], point[k], slots, k, numbers);
      if (tensor.average) average[k] = toward(average[k], iterate, numbers.rate);
    }
    store<n, W>(point, tensor.weight, i);
    for (int k = 0; k < R::kSlots; ++k) store<n, A>(slots[k], tensor.slots[k], i);
    if (tensor.average) store<n, A>(average, tensor.average, i);
  }

  // Every thread takes the same branch: gradients may be narrower than weights.
  template <int n>
  TFOPT_ELEMENT void load_gradient(const void* from, int64_t i, int type, A* gradient) {
    for (int k = 0; k < n; ++k) gradient[k] = A(0);
    if (!from) return;
    if (type == kFloat || type == kDouble) return load<n, A>(from, i, gradient);
    if constexpr (sizeof(A) == sizeof(float)) {
      if (type == kHalf) return load<n, Half>(from, i, gradient);
      load<n, Bfloat16>(from, i, gradient);
    }
  }

  template <int n>
  TFOPT_ELEMENT void add_accumulated(void* accumulator, int64_t i, A* gradient) {
    A total[n];
    load<n, A>(accumulator, i, total);
    for (int k = 0; k < n; ++k) {
      gradient[k] = gradient[k] + total[k];
      total[k] = A(0);
    }
    store<n, A>(total, accumulator, i);
  }

  // NaN stays.
  TFOPT_ELEMENT A cut(A x, A bound) {
    const A below = x > bound ? bound : x;
    return below < -bound ? -bound : below;
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
    R::template update<A>(cut(gradient * numbers.factor, numbers.bound), iterate, state, numbers.now);
    point = iterate;
    if constexpr (R::kLooksAhead) point = iterate + R::template ahead<A>(state, numbers.following);
    for (int k = 0; k < R::kSlots; ++k) slots[k][at] = values[k];
    return iterate;
  }
};

template <class R>
const char* start_update(Launch<Compute<TFOPT_WEIGHT>>& update, void* stream) {
  return start<UpdateWork<R, TFOPT_WEIGHT>>(update.chunks.total(), update, stream);
}

}  // namespace

const Kernels<Compute<TFOPT_WEIGHT>> TFOPT_KERNELS = {{
#define TFOPT_RULE(name, Struct) start_update<Struct>,
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
}};

}  // namespace cuda
}  // namespace tfopt
