// r ← ρr + (1−ρ)g²; the gradient divided by √r + δ, centred or not, with momentum or not.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct RmsProp : Rule {
  TFOPT_SLOTS(square)
  TFOPT_SCALARS(rate, one_minus_rho, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.square = toward(slots.square, g * g, s.one_minus_rho);
    p = p - s.rate * g / (root(slots.square) + s.epsilon);
  }
};

struct RmsPropCentered : Rule {
  TFOPT_SLOTS(square, mean)
  TFOPT_SCALARS(rate, one_minus_rho, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.square = toward(slots.square, g * g, s.one_minus_rho);
    slots.mean = toward(slots.mean, g, s.one_minus_rho);
    p = p - s.rate * g / (root(positive_part(slots.square - slots.mean * slots.mean)) + s.epsilon);
  }
};

struct RmsPropMomentum : Rule {
  TFOPT_SLOTS(square, velocity)
  TFOPT_SCALARS(rate, one_minus_rho, epsilon, momentum)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.square = toward(slots.square, g * g, s.one_minus_rho);
    slots.velocity = s.momentum * slots.velocity - s.rate * g / (root(slots.square) + s.epsilon);
    p = p + slots.velocity;
  }
};

struct RmsPropCenteredMomentum : Rule {
  TFOPT_SLOTS(square, velocity, mean)
  TFOPT_SCALARS(rate, one_minus_rho, epsilon, momentum)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.square = toward(slots.square, g * g, s.one_minus_rho);
    slots.mean = toward(slots.mean, g, s.one_minus_rho);
    A deviation = root(positive_part(slots.square - slots.mean * slots.mean));
    slots.velocity = s.momentum * slots.velocity - s.rate * g / (deviation + s.epsilon);
    p = p + slots.velocity;
  }
};

// The gradient taken at θ + αv.
template <class Base>
struct RmsPropNesterov : Base {
  static constexpr bool kLooksAhead = true;

  template <class A>
  TFOPT_ELEMENT A ahead(const typename Base::template Slots<A>& slots,
                        const typename Base::template Scalars<A>& s) {
    return s.momentum * slots.velocity;
  }
};

using RmsPropMomentumNesterov = RmsPropNesterov<RmsPropMomentum>;
using RmsPropCenteredMomentumNesterov = RmsPropNesterov<RmsPropCenteredMomentum>;

}  // namespace tfopt
