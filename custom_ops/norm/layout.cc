#include "custom_ops/norm/layout.h"

#include <algorithm>

namespace tfopt {
namespace {

// Shorter pieces with the same numbers are not worth a loop of their own.
constexpr int64_t kShort = 256;
// Elements of a part: enough to hide the hand-over to a thread.
constexpr int64_t kPart = 1 << 15;
// From so many samples on they are divided whole.
constexpr int64_t kSamples = 8;

bool nested(int64_t a, int64_t b) { return a % b == 0 || b % a == 0; }

}  // namespace

const char* Geometry::refused() const {
  if (parameters < 1 || run < 1) return "expected at least one parameter, for a run of at least one element";
  if (size() == 0) return nullptr;
  // The period of a longer run would overflow.
  if (run > sample() / parameters || sample() % period()) return "the parameters do not go into a sample a whole number of times";
  if (!nested(period(), row()) || !nested(run, row()) || !nested(run, width) || !nested(period(), width))
    return "the parameters' runs straddle groups";
  return nullptr;
}

Spread::Spread(const Geometry& geometry, bool columns, const float* gamma, const float* beta)
    : geometry_(geometry),
      uniform_(!columns && (geometry.parameters == 1 || std::min(geometry.run, geometry.width) >= kShort)) {
  const int64_t period = geometry.period();
  if (geometry.size() == 0 || uniform_ || (geometry.run == 1 && period >= (columns ? geometry.row() : geometry.width))) {
    size_ = geometry.parameters;
    gamma_ = gamma;
    beta_ = beta;
    return;
  }
  if (columns) {
    size_ = std::max(period, geometry.row());
  } else {
    size_ = period < geometry.width ? period + kStretch : period;
  }
  own_gamma_.resize(size_);
  own_beta_.resize(size_);
  for (int64_t i = 0; i < size_; ++i) {
    own_gamma_[i] = gamma[parameter(i)];
    own_beta_[i] = beta[parameter(i)];
  }
  gamma_ = own_gamma_.data();
  beta_ = own_beta_.data();
}

int64_t Spread::piece(int64_t element, int64_t n) const {
  if (!uniform_) return std::min(n, kStretch);
  return geometry_.parameters == 1 ? n : std::min(n, geometry_.run - element % geometry_.run);
}

Division::Division(const Geometry& geometry, int64_t most) {
  columns = geometry.inner > 1 && geometry.width < kShort;
  const int64_t wanted = std::max<int64_t>(1, std::min(most, geometry.size() / kPart));
  whole = geometry.size() == 0 || geometry.outer >= std::min(kSamples, wanted) || geometry.inner == 1;
  if (whole) {
    const int64_t count = std::min(wanted, geometry.outer);
    for (int64_t k = 0; k < count; ++k)
      parts.push_back({k * geometry.outer / count, (k + 1) * geometry.outer / count, 0, geometry.inner});
    return;
  }
  const int64_t of_one = std::min(geometry.inner, wanted / geometry.outer);
  for (int64_t o = 0; o < geometry.outer; ++o)
    for (int64_t k = 0; k < of_one; ++k)
      parts.push_back({o, o + 1, k * geometry.inner / of_one, (k + 1) * geometry.inner / of_one});
}

}  // namespace tfopt
