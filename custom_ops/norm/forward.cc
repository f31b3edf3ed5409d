#include "custom_ops/norm/forward.h"

#include <algorithm>
#include <cmath>

#include "custom_ops/norm/pages.h"
#include "custom_ops/norm/past.h"

namespace tfopt {
namespace {

// More parts than a machine has threads, so that they share evenly.
constexpr int64_t kMostParts = 128;
// One in so many of √n elements is looked at for a first idea of their mean. Of squares about it, rounded in float,
// the variance then keeps all digits but two, even if a single element makes it up.
constexpr double kLook = 8;

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
  shift_.resize(geometry.statistics());
  for (int64_t sample = 0; sample < geometry.outer; ++sample) find_shift(sample, &shift_[sample * geometry.groups]);
}

void NormalizePlan::start(int64_t begin, int64_t end) {
  if (geometry_.size() == 0) return;
  if (!whole()) {
    for (int64_t k = begin; k < end; ++k) {
      const Part& part = division_.parts[k];
      measure(part.first, part.begin, part.end, &shift_[part.first * geometry_.groups], &partial_[k * 2 * sums()]);
    }
    return;
  }
  std::vector<double> moments(2 * sums());
  std::vector<float> shift(geometry_.groups);
  GroupNumbers numbers(geometry_, division_.columns);
  for (int64_t k = begin; k < end; ++k)
    for (int64_t sample = division_.parts[k].first; sample < division_.parts[k].last; ++sample) {
      std::fill(moments.begin(), moments.end(), 0.0);
      find_shift(sample, shift.data());
      measure(sample, 0, geometry_.inner, shift.data(), moments.data());
      conclude(sample, shift.data(), moments.data(), numbers);
      apply(sample, 0, geometry_.inner, numbers);
    }
  if (past_) finish_past();
}

void NormalizePlan::settle() {
  if (whole()) return;
  std::vector<double> moments(2 * sums());
  for (int64_t k = 0; k < parts();) {
    const int64_t sample = division_.parts[k].first;
    std::fill(moments.begin(), moments.end(), 0.0);
    for (; k < parts() && division_.parts[k].first == sample; ++k)
      for (int64_t i = 0; i < 2 * sums(); ++i) moments[i] += partial_[k * 2 * sums() + i];
    conclude(sample, &shift_[sample * geometry_.groups], moments.data(), numbers_[sample]);
  }
}

void NormalizePlan::finish(int64_t begin, int64_t end) const {
  if (whole()) return;
  for (int64_t k = begin; k < end; ++k) {
    const Part& part = division_.parts[k];
    apply(part.first, part.begin, part.end, numbers_[part.first]);
  }
  if (past_) finish_past();
}

void NormalizePlan::find_shift(int64_t sample, float* shift) const {
  const int64_t count = std::max<int64_t>(1, std::sqrt(static_cast<double>(geometry_.count())) / kLook);
  const int64_t rows = std::min(count, geometry_.inner), columns = (count + rows - 1) / rows;
  for (int64_t group = 0; group < geometry_.groups; ++group) {
    const int64_t first = sample * geometry_.sample() + group * geometry_.width;
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = first + r * geometry_.inner / rows * geometry_.row();
      for (int64_t c = 0; c < columns; ++c) sum += loops_.first(x_.at(row + c * geometry_.width / columns));
    }
    shift[group] = static_cast<float>(sum / static_cast<double>(rows * columns));
  }
}

void NormalizePlan::measure(int64_t sample, int64_t begin, int64_t end, const float* shift, double* sums) const {
  if (division_.columns) return measure_columns(sample, begin, end, shift, sums);
  visit_stretches(geometry_, spread_, begin, end, [&](int64_t group, int64_t element, int64_t n) {
    loops_.add_moments(x_.at(sample * geometry_.sample() + element), shift[group], n, sums + 2 * group);
  });
}

void NormalizePlan::measure_columns(int64_t sample, int64_t begin, int64_t end, const float* shift,
                                    double* sums) const {
  const int64_t length = geometry_.row();
  std::vector<float> shifts(length);
  for (int64_t group = 0; group < geometry_.groups; ++group)
    std::fill_n(&shifts[group * geometry_.width], geometry_.width, shift[group]);
  visit_columns(geometry_, begin, end, [&](int64_t row, int64_t column, const Block& block) {
    const void* x = x_.at(sample * geometry_.sample() + row * length + column);
    loops_.add_column_moments(x, block, &shifts[column], sums + column, sums + length + column);
  });
}

void NormalizePlan::conclude(int64_t sample, const float* shift, const double* sums, GroupNumbers& numbers) const {
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
    const float mean = static_cast<float>(shift[group] + centre);
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
