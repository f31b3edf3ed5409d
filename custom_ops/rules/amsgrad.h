// Adam with a second moment r̂ that never shrinks.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct AmsGrad : Rule {
  TFOPT_SLOTS(momentum, velocity, largest_velocity)
  TFOPT_SCALARS(one_minus_beta_1, one_minus_beta_2, inverse_correction, rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.momentum = toward(slots.momentum, g, s.one_minus_beta_1);
    slots.velocity = toward(slots.velocity, g * g, s.one_minus_beta_2);
    slots.largest_velocity = larger(slots.largest_velocity, slots.velocity * s.inverse_correction);
    p = p - s.rate * slots.momentum / (root(slots.largest_velocity) + s.epsilon);
  }
};

// δ under the root.
struct AmsGradInside : Rule {
  TFOPT_SLOTS(momentum, velocity, largest_velocity)
  TFOPT_SCALARS(one_minus_beta_1, one_minus_beta_2, inverse_correction, rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.momentum = toward(slots.momentum, g, s.one_minus_beta_1);
    slots.velocity = toward(slots.velocity, g * g, s.one_minus_beta_2);
    slots.largest_velocity = larger(slots.largest_velocity, slots.velocity * s.inverse_correction);
    p = p - s.rate * slots.momentum / root(slots.largest_velocity + s.epsilon);
  }
};

// r̂ ← max(r̂ + w(g² − r̂), r̂).
struct AmsGradRecursive : Rule {
  TFOPT_SLOTS(momentum, largest_velocity)
  TFOPT_SCALARS(one_minus_beta_1, newest_weight, rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.momentum = toward(slots.momentum, g, s.one_minus_beta_1);
    slots.largest_velocity =
        slots.largest_velocity + s.newest_weight * positive_part(g * g - slots.largest_velocity);
    p = p - s.rate * slots.momentum / (root(slots.largest_velocity) + s.epsilon);
  }
};

}  // namespace tfopt
