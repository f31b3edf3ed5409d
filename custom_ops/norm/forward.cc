#include "custom_ops/norm/forward.h"

#include <algorithm>
#include <cmath>

#include "custom_ops/norm/pages.h"

namespace tfopt {
namespace {

// More parts than a machine has threads, so that they share evenly.
constexpr int64_t kMostParts = 128;

}  // namespace

NormalizePlan::NormalizePlan(const Table& table, const Geometry& geometry, const Given& given, const Wanted& wanted)
    : loops_(*table.normalize[given.type]),
      geometry_(geometry),
      division_(geometry, kMostParts),
      spread_(geometry_, division_.columns, given.gamma, given.beta),
      x_{given.x, size_of(given.type)},
      y_{wanted.y, size_of(given.type)},
      past_(past_caches(geometry, given.type)),
      mean_(wanted.mean),
      variance_(wanted.variance),
      epsilon_(given.epsilon) {
  prefer_large_pages(wanted.y, geometry.size() * size_of(given.type));
  if (geometry.size() == 0) {
    std::fill_n(mean_, geometry.statistics(), 0.0f);
    std::fill_n(variance_, geometry.statistics(), 0.0f);
  }
  if (whole()) return;
  partial_.resize(parts() * 2 * sums());
  numbers_.assign(geometry.outer, GroupNumbers(geometry_, division_.columns));
}

void NormalizePlan::start(int64_t begin, int64_t end) {
  if (geometry_.size() == 0) return;
  if (!whole()) {
    for (int64_t k = begin; k < end; ++k) {
      const Part& part = division_.parts[k];
      measure(part.first, part.begin, part.end, &partial_[k * 2 * sums()]);
    }
    return;
  }
  std::vector<double> moments(2 * sums());
  GroupNumbers numbers(geometry_, division_.columns);
  for (int64_t k = begin; k < end; ++k)
    for (int64_t sample = division_.parts[k].first; sample < division_.parts[k].last; ++sample) {
      std::fill(moments.begin(), moments.end(), 0.0);
      measure(sample, 0, geometry_.inner, moments.data());
      conclude(sample, moments.data(), numbers);
      apply(sample, 0, geometry_.inner, numbers);
    }
}

void NormalizePlan::settle() {
  if (whole()) return;
  std::vector<double> moments(2 * sums());
  for (int64_t k = 0; k < parts();) {
    const int64_t sample = division_.parts[k].first;
    std::fill(moments.begin(), moments.end(), 0.0);
    for (; k < parts() && division_.parts[k].first == sample; ++k)
      for (int64_t i = 0; i < 2 * sums(); ++i) moments[i] += partial_[k * 2 * sums() + i];
    conclude(sample, moments.data(), numbers_[sample]);
  }
}

void NormalizePlan::finish(int64_t begin, int64_t end) const {
  if (whole()) return;
  for (int64_t k = begin; k < end; ++k) {
    const Part& part = division_.parts[k];
    apply(part.first, part.begin, part.end, numbers_[part.first]);
  }
}

float NormalizePlan::first_of(int64_t sample, int64_t group) const {
  return loops_.first(x_.at(sample * geometry_.sample() + group * geometry_.width));
}

void NormalizePlan::measure(int64_t sample, int64_t begin, int64_t end, double* sums) const {
  if (division_.columns) return measure_columns(sample, begin, end, sums);
  std::vector<float> shift(geometry_.groups);
  for (int64_t group = 0; group < geometry_.groups; ++group) shift[group] = first_of(sample, group);
  visit_stretches(geometry_, spread_, begin, end, [&](int64_t group, int64_t element, int64_t n) {
    loops_.add_moments(x_.at(sample * geometry_.sample() + element), shift[group], n, sums + 2 * group);
  });
}

void NormalizePlan::measure_columns(int64_t sample, int64_t begin, int64_t end, double* sums) const {
  const int64_t length = geometry_.row();
  std::vector<float> shift(length);
  for (int64_t group = 0; group < geometry_.groups; ++group)
    std::fill_n(&shift[group * geometry_.width], geometry_.width, first_of(sample, group));
  visit_columns(geometry_, begin, end, [&](int64_t row, int64_t column, const Block& block) {
    const void* x = x_.at(sample * geometry_.sample() + row * length + column);
    loops_.add_column_moments(x, block, &shift[column], sums + column, sums + length + column);
  });
}

void NormalizePlan::conclude(int64_t sample, const double* sums, GroupNumbers& numbers) const {
  const double count = static_cast<double>(geometry_.count());
  for (int64_t group = 0; group < geometry_.groups; ++group) {
    double first = 0, second = 0;
    if (division_.columns) {
      for (int64_t j = group * geometry_.width; j < (group + 1) * geometry_.width; ++j) {
        first += sums[j];
        second += sums[geometry_.row() + j];
      }
    } else {
      first = sums[2 * group];
      second = sums[2 * group + 1];
    }
    const double centre = first / count, spread = second / count - centre * centre;
    const float variance = static_cast<float>(spread < 0 ? 0 : spread);
    const float mean = static_cast<float>(first_of(sample, group) + centre);
    mean_[sample * geometry_.groups + group] = mean;
    variance_[sample * geometry_.groups + group] = variance;
    numbers.set(group, mean, static_cast<float>(1 / std::sqrt(variance + epsilon_)));
  }
}

void NormalizePlan::apply(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers) const {
  if (division_.columns) return apply_columns(sample, begin, end, numbers);
  const auto loop = loops_.apply[spread_.uniform() ? kUniform : kParameters];
  visit_stretches(geometry_, spread_, begin, end, [&](int64_t group, int64_t element, int64_t n) {
    const int64_t at = sample * geometry_.sample() + element, place = spread_.place(element);
    Numbers by = numbers.at(group);
    by.gamma = spread_.gamma(place);
    by.beta = spread_.beta(place);
    loop(x_.at(at), {1, n, n, 0}, by, y_.at(at), past_);
  });
}

void NormalizePlan::apply_columns(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers) const {
  const int64_t length = geometry_.row();
  visit_columns(geometry_, begin, end, [&](int64_t row, int64_t column, const Block& block) {
    const int64_t at = sample * geometry_.sample() + row * length + column;
    const int64_t place = (geometry_.period() > length ? spread_.place(row * length) : 0) + column;
    Numbers by = numbers.at(column);
    by.gamma = spread_.gamma(place);
    by.beta = spread_.beta(place);
    loops_.apply[kColumns](x_.at(at), block, by, y_.at(at), past_);
  });
}

}  // namespace tfopt
