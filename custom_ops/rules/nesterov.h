// Momentum, with the gradient taken at θ + αv.
#pragma once
#include "custom_ops/rules/momentum.h"

namespace tfopt {

struct Nesterov : Momentum {
  static constexpr bool kLooksAhead = true;

  template <class A>
  TFOPT_ELEMENT A ahead(const Slots<A>& slots, const Scalars<A>& s) {
    return s.momentum * slots.velocity;
  }
};

}  // namespace tfopt
