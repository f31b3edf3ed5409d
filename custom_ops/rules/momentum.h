// v ← αv − εg; θ ← θ + v.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct Momentum : Rule {
  TFOPT_SLOTS(velocity)
  TFOPT_SCALARS(momentum, rate)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.velocity = s.momentum * slots.velocity - s.rate * g;
    p = p + slots.velocity;
  }
};

}  // namespace tfopt
