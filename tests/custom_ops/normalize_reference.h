// What the harnesses of normalisation share: tensors that lie in every way under their statistics and parameters, on
// buffers of exactly their size, and the formulas in double.
#pragma once
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "buffer.h"
#include "custom_ops/norm/layout.h"

constexpr double kEpsilon = 1e-3;

// outer, inner, groups, width, parameters, run.
const tfopt::Geometry kGeometries[] = {
    {5, 1, 1, 1, 1, 1},                                                // nothing but itself
    {37, 1, 1, 70, 70, 1},     {9, 1, 1, 1500, 1500, 1},               // layer normalisation, per element
    {11, 1, 1, 1200, 8, 1},    {3, 1, 1, 3000, 1500, 1},               // per channel
    {9, 1, 1, 1, 1, 1},        {300, 1, 1, 130, 1, 1},                 // without parameters
    {4, 1, 6, 900, 12, 450},   {4, 1, 2, 60, 12, 10},                  // groups, channels first
    {4, 1, 2, 2100, 2, 2100},  {2, 1, 2, 600, 2, 600},                 // instances, channels first
    {3, 25, 4, 2, 8, 1},       {3, 25, 4, 2, 4, 2},                    // groups, per channel and per group
    {3, 25, 4, 2, 100, 2},     {3, 26, 4, 2, 208, 1},                  // per element of a group, and of a sample
    {3, 26, 4, 2, 104, 1},     {2, 9, 3, 700, 2100, 1},                // for two rows of thirteen; long groups
    {2, 9, 3, 700, 3, 700},    {2, 9, 3, 700, 18900, 1},               // a parameter for each group; for each element
    {2, 90, 1, 700, 700, 1},   {1, 9000, 1, 11, 11, 1},                // inner and width
    {1, 9000, 5, 1, 5, 1},     {1, 70, 1500, 1, 1500, 1},              // batches: per channel, per unit
    {1, 9009, 4, 2, 728, 1},                                           // parts that start within a period
    {1, 60, 7, 310, 7, 310},   {2, 4001, 12, 2, 24, 1},                // channels first; few samples
    {3, 5000, 1, 16, 80000, 1}, {1, 70000, 1, 1, 1, 1},                // and per element
    {0, 3, 2, 2, 4, 1},        {2, 0, 2, 2, 4, 1},                     // empty
};

struct Case {
  std::string where;  // whose kernels they are
  tfopt::Type type;
  const tfopt::Geometry& is;
  bool shifted;
};

inline void compare(const Case& c, const char* what, int64_t i, double got, double expected, double bound) {
  if (std::fabs(got - expected) <= bound) return;
  std::printf("%s type %d [%ld %ld %ld %ld] %ld × %ld%s: %s[%ld] is %.9g, expected %.9g\n", c.where.c_str(), c.type,
              c.is.outer, c.is.inner, c.is.groups, c.is.width, c.is.parameters, c.is.run,
              c.shifted ? " shifted" : "", what, i, got, expected);
  std::exit(1);
}

// Of results in the tensors' type, relative to their size.
inline double rounding(tfopt::Type type) {
  return type == tfopt::kFloat ? 2e-5 : type == tfopt::kHalf ? 2e-3 : 1.6e-2;
}

// Tensors, and what they give. The kernels write into the buffers, which are compared then.
class Problem {
 public:
  explicit Problem(const Case& c)
      : is(c.is), x(c.type, is.size(), c.shifted), upstream(c.type, is.size(), c.shifted),
        y(c.type, is.size(), c.shifted), gamma(tfopt::kFloat, is.parameters, c.shifted),
        beta(tfopt::kFloat, is.parameters, c.shifted), mean(tfopt::kFloat, is.statistics()),
        variance(tfopt::kFloat, is.statistics()), by_gamma(tfopt::kFloat, is.parameters),
        by_beta(tfopt::kFloat, is.parameters), c_(c), exact_mean_(is.statistics()), exact_variance_(is.statistics()) {
    for (int64_t i = 0; i < is.size(); ++i) x.set(i, 3 + 2 * x.get(i));  // a mean above the deviation
    measure();
  }

  static float* floats(const Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

  void compare_forward() const {
    for (int64_t k = 0; k < is.statistics(); ++k) {
      compare(c_, "mean", k, mean.get(k), exact_mean_[k], 1e-6);
      compare(c_, "variance", k, variance.get(k), exact_variance_[k], 2e-6);
    }
    for (int64_t i = 0; i < is.size(); ++i) {
      const double expected = gamma.get(parameter(i)) * normal(i) + beta.get(parameter(i));
      compare(c_, "y", i, y.get(i), expected, rounding(c_.type) * (1 + std::fabs(expected)));
    }
  }

  void compare_gradients(const Buffer& by_x) const {
    std::vector<double> of_gamma(is.parameters), of_beta(is.parameters), size(is.parameters);
    std::vector<double> plain(is.statistics()), products(is.statistics());
    for (int64_t i = 0; i < is.size(); ++i) {
      const double g = upstream.get(i), h = gamma.get(parameter(i)) * g;
      of_gamma[parameter(i)] += g * normal(i);
      of_beta[parameter(i)] += g;
      size[parameter(i)] += 1;
      plain[group(i)] += h / is.count();
      products[group(i)] += h * normal(i) / is.count();
    }
    for (int64_t i = 0; i < is.size(); ++i) {
      const double h = gamma.get(parameter(i)) * upstream.get(i);
      const double expected = inverse(i) * (h - plain[group(i)] - normal(i) * products[group(i)]);
      compare(c_, "by x", i, by_x.get(i), expected, rounding(c_.type) * (1 + std::fabs(expected)) * (1 + inverse(i)));
    }
    for (int64_t k = 0; k < is.parameters; ++k) {
      // Of sums of so many numbers in (−2, 2), added up in floats a few at a time.
      const double bound = 1e-5 * (1 + std::sqrt(size[k]));
      compare(c_, "by gamma", k, by_gamma.get(k), of_gamma[k], bound);
      compare(c_, "by beta", k, by_beta.get(k), of_beta[k], bound);
    }
  }

  const tfopt::Geometry& is;
  Buffer x, upstream, y, gamma, beta, mean, variance, by_gamma, by_beta;

 private:
  int64_t group(int64_t i) const { return i / is.sample() * is.groups + i % is.row() / is.width; }
  int64_t parameter(int64_t i) const { return i % is.sample() / is.run % is.parameters; }
  double inverse(int64_t i) const { return 1 / std::sqrt(exact_variance_[group(i)] + kEpsilon); }
  double normal(int64_t i) const { return (x.get(i) - exact_mean_[group(i)]) * inverse(i); }

  void measure() {
    for (int64_t i = 0; i < is.size(); ++i) exact_mean_[group(i)] += x.get(i) / is.count();
    for (int64_t i = 0; i < is.size(); ++i)
      exact_variance_[group(i)] += std::pow(x.get(i) - exact_mean_[group(i)], 2) / is.count();
  }

  const Case c_;
  std::vector<double> exact_mean_, exact_variance_;
};
