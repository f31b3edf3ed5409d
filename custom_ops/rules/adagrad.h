// r ← r + g²; θ ← θ − εg/(δ + √r).
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct AdaGrad : Rule {
  TFOPT_SLOTS(square_sum)
  TFOPT_SCALARS(rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.square_sum = slots.square_sum + g * g;
    p = p - s.rate * g / (root(slots.square_sum) + s.epsilon);
  }
};

}  // namespace tfopt
