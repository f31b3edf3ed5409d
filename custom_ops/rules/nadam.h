// Adam with Nesterov's momentum: the coming momentum applied already now, or the gradient taken ahead.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct NAdam : Rule {
  TFOPT_SLOTS(momentum, velocity)
  TFOPT_SCALARS(one_minus_beta_1, one_minus_beta_2, momentum_rate, gradient_rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.momentum = toward(slots.momentum, g, s.one_minus_beta_1);
    slots.velocity = toward(slots.velocity, g * g, s.one_minus_beta_2);
    p = p - (s.momentum_rate * slots.momentum + s.gradient_rate * g) / (root(slots.velocity) + s.epsilon);
  }
};

// The gradient taken at θ + Δθ, Δθ the step made last.
struct NAdamLookahead : Rule {
  static constexpr bool kLooksAhead = true;
  TFOPT_SLOTS(momentum, velocity, step)
  TFOPT_SCALARS(one_minus_beta_1, one_minus_beta_2, rate, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.momentum = toward(slots.momentum, g, s.one_minus_beta_1);
    slots.velocity = toward(slots.velocity, g * g, s.one_minus_beta_2);
    slots.step = -s.rate * slots.momentum / (root(slots.velocity) + s.epsilon);
    p = p + slots.step;
  }

  template <class A>
  TFOPT_ELEMENT A ahead(const Slots<A>& slots, const Scalars<A>&) {
    return slots.step;
  }
};

}  // namespace tfopt
