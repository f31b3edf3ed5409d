// The gradients of y = γ x̂ + β, where x̂ = (x − μ)/√(σ² + ε), with respect to x, γ and β; no TensorFlow.
//
//     ∇β = Σ ∇y      ∇γ = Σ ∇y x̂      h = γ ∇y      ∇x = (h − Σh/n − x̂ Σ(h x̂)/n) / √(σ² + ε)
//
// ∇y and x are read twice, the second time from a cache where a sample fits into one; ∇x may lie where ∇y does.
#pragma once
#include <vector>

#include "custom_ops/norm/tensors.h"

namespace tfopt {

class TFOPT_SHARED NormalizeBackwardPlan {
 public:
  struct Given {
    Type type;  // of x, ∇y and ∇x: not double
    const void *x, *upstream;
    const float *gamma, *mean, *variance;
    double epsilon;
  };
  struct Wanted {
    void* by_x;
    float *by_gamma, *by_beta;
  };

  NormalizeBackwardPlan(const Table& table, const Geometry& geometry, const Given& given, const Wanted& wanted);

  // As of NormalizePlan; `settle` is always needed, and writes ∇γ and ∇β.
  int64_t parts() const { return static_cast<int64_t>(division_.parts.size()); }
  int64_t elements_of_part() const { return 2 * geometry_.size() / (parts() ? parts() : 1); }
  bool whole() const { return division_.whole; }
  void start(int64_t begin, int64_t end);
  void settle();
  void finish(int64_t begin, int64_t end) const;

 private:
  // What one part adds up: for γ and β at each of their places, in floats until those get many.
  struct Sums {
    std::vector<double> by_gamma, by_beta;
    std::vector<float> recent_gamma, recent_beta;
    int64_t recent = 0;
  };

  int64_t group_sums() const { return division_.columns ? geometry_.row() : geometry_.groups; }
  // Whether γ and β of a column are the same in every row.
  bool fixed() const { return geometry_.period() <= geometry_.row(); }
  Sums make_sums() const;
  void flush(Sums& sums) const;
  void note(Sums& sums, int64_t times) const;
  void load(int64_t sample, GroupNumbers& numbers) const;
  // Adds Σh and Σ h x̂ of each group to [groups, 2].
  void reduce(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers, Sums& sums, double* groups) const;
  void reduce_stretch(int64_t at, int64_t element, int64_t n, Numbers by, Sums& sums, double* group) const;
  void reduce_columns(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers, Sums& sums,
                      double* groups) const;
  void add_columns(const GroupNumbers& numbers, const double* plain, const double* products, Sums& sums,
                   double* groups) const;
  void conclude(const double* groups, GroupNumbers& numbers) const;
  void apply(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers) const;
  void apply_columns(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers) const;

  const NormalizeLoops& loops_;
  const Geometry geometry_;
  const Division division_;
  const Spread spread_;
  const Elements<const void*> x_, upstream_;
  const Elements<void*> by_x_;
  const bool past_;
  const float *const mean_, *const variance_;
  float *const by_gamma_, *const by_beta_;
  const double epsilon_;
  std::vector<Sums> sums_;             // of each part
  std::vector<double> partial_;        // [parts, groups, 2]
  std::vector<GroupNumbers> numbers_;  // of each sample
};

}  // namespace tfopt
