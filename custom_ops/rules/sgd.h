// θ ← θ − εg.
#pragma once
#include "custom_ops/rules/element.h"

namespace tfopt {

struct Sgd : Rule {
  TFOPT_NO_SLOTS
  TFOPT_SCALARS(rate)

  template <class A>
  TFOPT_ELEMENT void update(A g, A& p, Slots<A>&, const Scalars<A>& s) {
    p = p - s.rate * g;
  }
};

}  // namespace tfopt
