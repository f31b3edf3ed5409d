// Inner loops of sparse coding: coordinate descent on small matrices that stay in the cache. Raw pointers only, as in
// custom_ops/apply/table.h.
#pragma once
#include <stdint.h>

namespace tfopt {

// Lasso problems that share their atoms: the least ‖x − Wᵀh‖² + λ‖h‖₁ over h for each sample x.
struct Lasso {
  const void* gram;  // WWᵀ, [atoms, atoms]
  int64_t atoms;
  double l1;         // λ
  double tolerance;  // largest duality gap, in units of ‖x‖²
  int64_t passes;    // over the coordinates at most, rounded up to a multiple of kPassesBetween
};

// Passes between two looks at the duality gap, which costs about as much as one.
constexpr int64_t kPassesBetween = 3;

// Least squares in the unit ball for the rows of W: ½ tr(WᵀAW) − tr(WᵀB) with ‖wₖ‖ ≤ 1.
struct Ball {
  const void* square;  // A, [atoms, atoms]
  const void* right;   // B, [atoms, features]
  int64_t atoms, features, passes;
};

// For floats or doubles.
struct CodesLoops {
  // Improves the codes of `count` samples; target is Wx, squares ‖x‖², scratch is of `atoms` elements.
  void (*encode)(const Lasso& lasso, const void* target, const void* squares, void* codes, int64_t count,
                 void* scratch);
  // Improves the rows one after the other; scratch is of `features` elements.
  void (*fit_rows)(const Ball& ball, void* rows, void* scratch);
};

}  // namespace tfopt
