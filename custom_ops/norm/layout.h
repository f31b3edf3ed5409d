// How a tensor lies under the statistics it is normalised with; no TensorFlow.
#pragma once
#include <cstdint>
#include <vector>

#include "custom_ops/apply/table.h"
#include "custom_ops/norm/loops.h"

namespace tfopt {

// A tensor [outer, inner, groups, width]: every (outer, group) has statistics of its own, over (inner, width).
// γ and β have `parameters` numbers, each for `run` elements in a row, and start again behind the last.
struct TFOPT_SHARED Geometry {
  int64_t outer, inner, groups, width, parameters, run;

  int64_t row() const { return groups * width; }
  int64_t sample() const { return inner * row(); }
  int64_t size() const { return outer * sample(); }
  int64_t statistics() const { return outer * groups; }
  int64_t count() const { return inner * width; }  // elements behind a statistic
  int64_t period() const { return parameters * run; }

  // Why the loops cannot work on it; null if they can.
  const char* refused() const;
};

// Elements worked on before the next, which stay in the nearest cache.
constexpr int64_t kStretch = 1024;

// γ and β, repeated so that kStretch elements from any place on lie in one piece.
class Spread {
 public:
  Spread(const Geometry& geometry, bool columns, const float* gamma, const float* beta);

  // Whether one number serves a whole stretch: places are then those of γ and β themselves.
  bool uniform() const { return uniform_; }
  int64_t size() const { return size_; }
  // Place of an element's numbers; `element` is counted from the start of a sample.
  int64_t place(int64_t element) const {
    return uniform_ ? element / geometry_.run % geometry_.parameters : element % geometry_.period();
  }
  const float* gamma(int64_t place) const { return gamma_ + place; }
  const float* beta(int64_t place) const { return beta_ + place; }
  // Elements from this one on, of `n`, whose numbers lie in one piece.
  int64_t piece(int64_t element, int64_t n) const;

  // The parameter that a place repeats.
  int64_t parameter(int64_t place) const { return uniform_ ? place : place % geometry_.period() / geometry_.run; }

 private:
  const Geometry geometry_;
  bool uniform_;
  int64_t size_;
  const float *gamma_, *beta_;
  std::vector<float> own_gamma_, own_beta_;
};

// Part of the work: some samples whole, or some rows of one.
struct Part {
  int64_t first, last;  // samples
  int64_t begin, end;   // rows of each
};

// How the work divides. It does not depend on the threads, and neither do the sums.
struct Division {
  Division(const Geometry& geometry, int64_t most);

  bool whole = true;   // parts are whole samples
  bool columns = false;  // an element's group goes by its column of a row
  std::vector<Part> parts;
};

}  // namespace tfopt
