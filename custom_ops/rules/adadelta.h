// r ← ρr + (1−ρ)g²; Δ = −√((d+δ)/(r+δ)) g; d ← ρd + (1−ρ)Δ²; θ ← θ + εΔ.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct AdaDelta : Rule {
  TFOPT_SLOTS(square, squared_step)
  TFOPT_SCALARS(rate, one_minus_rho, epsilon)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.square = toward(slots.square, g * g, s.one_minus_rho);
    A step = g * root((slots.squared_step + s.epsilon) / (slots.square + s.epsilon));
    slots.squared_step = toward(slots.squared_step, step * step, s.one_minus_rho);
    p = p - s.rate * step;
  }
};

}  // namespace tfopt
