// y = γ (x − μ)/√(σ² + ε) + β, with μ and σ² of each group; no TensorFlow.
//
// Sums are of x less the mean of a few of its own elements, so that neither a mean far above the deviation nor a
// constant input costs digits. A sample that fits into a cache comes from memory once.
#pragma once
#include <vector>

#include "custom_ops/norm/tensors.h"

namespace tfopt {

class TFOPT_SHARED NormalizePlan {
 public:
  struct Given {
    Type type;  // of x and y: not double
    const void* x;
    const float *gamma, *beta;
    double epsilon;
  };
  struct Wanted {
    void* y;
    float *mean, *variance;  // [outer, groups]
  };

  NormalizePlan(const Table& table, const Geometry& geometry, const Given& given, const Wanted& wanted);

  // Parts [begin, end) of parts(); ranges that do not overlap may run at the same time. First all of them by
  // `start`, then `settle`, then all by `finish`; where `whole()`, `start` is all there is to do.
  int64_t parts() const { return static_cast<int64_t>(division_.parts.size()); }
  int64_t elements_of_part() const { return geometry_.size() / (parts() ? parts() : 1); }
  bool whole() const { return division_.whole; }
  void start(int64_t begin, int64_t end);
  void settle();
  void finish(int64_t begin, int64_t end) const;

 private:
  int64_t sums() const { return division_.columns ? geometry_.row() : geometry_.groups; }
  // For each group the mean of some of its elements.
  void find_shift(int64_t sample, float* shift) const;
  // Adds moments about `shift`, one for each group, to [2, sums()], or [sums(), 2] if not by columns.
  void measure(int64_t sample, int64_t begin, int64_t end, const float* shift, double* sums) const;
  void measure_columns(int64_t sample, int64_t begin, int64_t end, const float* shift, double* sums) const;
  // Writes the statistics of a sample.
  void conclude(int64_t sample, const float* shift, const double* sums, GroupNumbers& numbers) const;
  void apply(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers) const;
  void apply_columns(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers) const;

  const NormalizeLoops& loops_;
  const Geometry geometry_;
  const Division division_;
  const Spread spread_;
  const Elements<const void*> x_;
  const Elements<void*> y_;
  const bool past_;
  float *const mean_, *const variance_;
  const double epsilon_;
  std::vector<float> shift_;           // [outer, groups]
  std::vector<double> partial_;        // [parts, 2 sums()]
  std::vector<GroupNumbers> numbers_;  // of each sample
};

}  // namespace tfopt
