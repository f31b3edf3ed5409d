// γ ← γ + κ/ε, γ(1−φ) or γ by the sign of δ̄g; θ ← θ − εγg; δ̄ ← (1−ϑ)g + ϑδ̄.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct DeltaBarDelta : Rule {
  TFOPT_SLOTS(gain, trace)
  TFOPT_SCALARS(rate, increment, shrink, theta)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>& slots, const Scalars<A>& s) {
    slots.gain = by_sign(slots.trace * g, slots.gain + s.increment, slots.gain, slots.gain * s.shrink);
    p = p - slots.gain * (s.rate * g);
    slots.trace = g + (slots.trace - g) * s.theta;
  }
};

}  // namespace tfopt
