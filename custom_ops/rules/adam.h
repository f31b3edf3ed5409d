// s ← ρ₁s + (1−ρ₁)g, r ← ρ₂r + (1−ρ₂)g²; the bias corrections come inside rate and epsilon.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct Adam : Rule {
  TFOPT_SLOTS(momentum, velocity)
  TFOPT_SCALARS(one_minus_beta_1, one_minus_beta_2, rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.momentum = toward(slots.momentum, g, s.one_minus_beta_1);
    slots.velocity = toward(slots.velocity, g * g, s.one_minus_beta_2);
    p = p - s.rate * slots.momentum / (root(slots.velocity) + s.epsilon);
  }
};

// δ under the root.
struct AdamInside : Rule {
  TFOPT_SLOTS(momentum, velocity)
  TFOPT_SCALARS(one_minus_beta_1, one_minus_beta_2, rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.momentum = toward(slots.momentum, g, s.one_minus_beta_1);
    slots.velocity = toward(slots.velocity, g * g, s.one_minus_beta_2);
    p = p - s.rate * slots.momentum / root(slots.velocity + s.epsilon);
  }
};

}  // namespace tfopt
