// The loops. Compiled once per instruction set, with TFOPT_ISA its name; see table.h for what must stay out.
#include "custom_ops/apply/half.h"
#include "custom_ops/apply/squares.h"
#include "custom_ops/apply/stretches.h"
#include "custom_ops/apply/table.h"
#include "custom_ops/codes/kernels.h"
#include "custom_ops/norm/kernels.h"
#include "custom_ops/rules/rules.h"

#define TFOPT_TEXT_(x) #x
#define TFOPT_TEXT(x) TFOPT_TEXT_(x)

namespace tfopt {
namespace TFOPT_ISA {
namespace {

// Reads or writes up to three slots at element i; unrolled, so that a struct of values stays in registers.
template <int kSlots, class A>
TFOPT_ELEMENT void load(A* slots, A* const* from, int64_t i) {
  if constexpr (kSlots > 0) slots[0] = from[0][i];
  if constexpr (kSlots > 1) slots[1] = from[1][i];
  if constexpr (kSlots > 2) slots[2] = from[2][i];
  static_assert(kSlots <= kMostSlots);
}

template <int kSlots, class A>
TFOPT_ELEMENT void store(const A* slots, A* const* to, int64_t i) {
  if constexpr (kSlots > 0) to[0][i] = slots[0];
  if constexpr (kSlots > 1) to[1][i] = slots[1];
  if constexpr (kSlots > 2) to[2][i] = slots[2];
}

template <class A, class Scalars>
TFOPT_ELEMENT Scalars cast_scalars(const double* from) {
  Scalars made;
  A* values = reinterpret_cast<A*>(&made);
  for (unsigned k = 0; k < sizeof(Scalars) / sizeof(A); ++k) values[k] = static_cast<A>(from[k]);
  return made;
}

// What `Beside` says, in the type to compute in.
template <class A>
struct Companion {
  A *accumulator, *average;
  A bound, rate;
};

struct Nothing {};

// The gradient of element i, as the rule takes it.
template <class A>
TFOPT_ELEMENT A gradient_of(const A* g, int64_t i, A factor, const Nothing&) {
  return g[i] * factor;
}

template <class A>
TFOPT_ELEMENT A gradient_of(const A* g, int64_t i, A factor, const Companion<A>& beside) {
  const A scaled = (beside.accumulator[i] + g[i]) * factor;
  beside.accumulator[i] = A(0);
  const A below = scaled > beside.bound ? beside.bound : scaled;
  return below < -beside.bound ? -beside.bound : below;
}

template <class A>
TFOPT_ELEMENT void move_average(int64_t, A, const Nothing&) {}

template <class A>
TFOPT_ELEMENT void move_average(int64_t i, A iterate, const Companion<A>& beside) {
  beside.average[i] = toward(beside.average[i], iterate, beside.rate);
}

template <class R, class A, class B>
TFOPT_ELEMENT void run(const void* gradient, void* weight, void* const* slots, int64_t n, const Step& step,
                       const B beside) {
  using Scalars = typename R::template Scalars<A>;
  static_assert(R::kScalars <= kMostScalars);
  const A* g = static_cast<const A*>(gradient);
  A* p = static_cast<A*>(weight);
  A* columns[kMostSlots] = {};
  for (int k = 0; k < R::kSlots; ++k) columns[k] = static_cast<A*>(slots[k]);
  const Scalars now = cast_scalars<A, Scalars>(step.scalars);
  const Scalars following = cast_scalars<A, Scalars>(R::kLooksAhead ? step.following : step.scalars);
  const A keep = static_cast<A>(step.keep), factor = static_cast<A>(step.factor);
// The arrays are distinct buffers.
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    typename R::template Slots<A> state;
    A* values = reinterpret_cast<A*>(&state);
    load<R::kSlots, A>(values, columns, i);
    A iterate = p[i];
    if constexpr (R::kLooksAhead) iterate = iterate - R::template ahead<A>(state, now);
    iterate = iterate * keep;
    R::template update<A>(gradient_of(g, i, factor, beside), iterate, state, now);
    move_average(i, iterate, beside);
    if constexpr (R::kLooksAhead) iterate = iterate + R::template ahead<A>(state, following);
    p[i] = iterate;
    store<R::kSlots, A>(values, columns, i);
  }
}

template <class R, class A>
void update(const void* gradient, void* weight, void* const* slots, int64_t n, const Step& step) {
  run<R, A>(gradient, weight, slots, n, step, Nothing());
}

template <class R, class A>
void update_beside(const void* gradient, void* weight, void* const* slots, int64_t n, const Step& step,
                   const Beside& beside) {
  const Companion<A> companion = {static_cast<A*>(beside.accumulator), static_cast<A*>(beside.average),
                                  static_cast<A>(beside.bound), static_cast<A>(beside.average_rate)};
  run<R, A>(gradient, weight, slots, n, step, companion);
}

template <class T>
void widen_all(const void* from, float* to, int64_t n) {
  const T* x = static_cast<const T*>(from);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = widen(x[i]);
}

template <class T>
void narrow_all(const float* from, void* to, int64_t n) {
  T* x = static_cast<T*>(to);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) narrow(from[i], x[i]);
}

template <class A>
void add(const void* left, const void* right, void* sum, int64_t n) {
  const A *x = static_cast<const A*>(left), *y = static_cast<const A*>(right);
  A* to = static_cast<A*>(sum);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = x[i] + y[i];
}

template <class R>
constexpr RuleKernel kernel_of(const char* name) {
  return {name,
          R::slot_names(),
          R::scalar_names(),
          R::kSlots,
          R::kScalars,
          R::kLooksAhead,
          update<R, float>,
          update<R, double>,
          update_beside<R, float>,
          update_beside<R, double>};
}

const RuleKernel kRules[] = {
#define TFOPT_RULE(name, Struct) kernel_of<Struct>(#name),
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
};

}  // namespace

extern const Table kTable;
const Table kTable = {
    TFOPT_TEXT(TFOPT_ISA),
    kRules,
    sizeof(kRules) / sizeof(kRules[0]),
    {nullptr, nullptr, widen_all<Half>, widen_all<Bfloat16>},
    {nullptr, nullptr, narrow_all<Half>, narrow_all<Bfloat16>},
    {add<float>, add<double>},
    {squares_float, squares_double},
    {&kStretchFloat, &kStretchDouble},
    {&kNormalizeFloat, nullptr, &kNormalizeHalf, &kNormalizeBfloat16},
    {&kCodesFloat, &kCodesDouble},
};

}  // namespace TFOPT_ISA
}  // namespace tfopt
