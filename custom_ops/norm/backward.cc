#include "custom_ops/norm/backward.h"

#include <algorithm>
#include <cmath>

#include "custom_ops/norm/pages.h"
#include "custom_ops/norm/past.h"

namespace tfopt {
namespace {

constexpr int64_t kMostParts = 32;
// Numbers that are added up in float before the sum goes on in double.
constexpr int64_t kRecent = 64;
// A part's sums for γ and β should be no more than its share of the tensors.
constexpr int64_t kShare = 8;

int64_t most_parts(const Geometry& geometry) {
  if (geometry.size() == 0) return 1;  // whatever the period is
  return std::clamp<int64_t>(geometry.size() / (kShare * std::max<int64_t>(1, geometry.period())), 1, kMostParts);
}

}  // namespace

NormalizeBackwardPlan::NormalizeBackwardPlan(const Table& table, const Geometry& geometry, const Given& given,
                                             const Wanted& wanted)
    : loops_(*table.normalize[given.type]),
      geometry_(geometry),
      division_(geometry, most_parts(geometry)),
      spread_(geometry_, division_.columns, given.gamma, given.gamma),
      x_{given.x, size_of(given.type)},
      upstream_{given.upstream, size_of(given.type)},
      by_x_{wanted.by_x, size_of(given.type)},
      past_(past_caches(geometry, given.type) && given.upstream != wanted.by_x),
      mean_(given.mean),
      variance_(given.variance),
      by_gamma_(wanted.by_gamma),
      by_beta_(wanted.by_beta),
      epsilon_(given.epsilon) {
  if (wanted.by_x != given.upstream) prefer_large_pages(wanted.by_x, geometry.size() * size_of(given.type));
  std::fill_n(by_gamma_, geometry.parameters, 0.0f);
  std::fill_n(by_beta_, geometry.parameters, 0.0f);
  if (geometry.size() == 0) return;
  sums_.resize(parts());
  if (!whole()) partial_.resize(parts() * 2 * geometry.groups);
}

NormalizeBackwardPlan::Sums NormalizeBackwardPlan::make_sums() const {
  const size_t size = spread_.size(), recent = spread_.uniform() || (division_.columns && fixed()) ? 0 : size;
  return {std::vector<double>(size), std::vector<double>(size), std::vector<float>(recent),
          std::vector<float>(recent), 0};
}

void NormalizeBackwardPlan::flush(Sums& sums) const {
  for (size_t i = 0; i < sums.recent_gamma.size(); ++i) {
    sums.by_gamma[i] += sums.recent_gamma[i];
    sums.by_beta[i] += sums.recent_beta[i];
    sums.recent_gamma[i] = sums.recent_beta[i] = 0;
  }
  sums.recent = 0;
}

void NormalizeBackwardPlan::note(Sums& sums, int64_t times) const {
  sums.recent += times;
  if (sums.recent >= kRecent) flush(sums);
}

void NormalizeBackwardPlan::load(int64_t sample, GroupNumbers& numbers) const {
  for (int64_t group = 0; group < geometry_.groups; ++group) {
    const int64_t at = sample * geometry_.groups + group;
    numbers.set(group, mean_[at], static_cast<float>(1 / std::sqrt(variance_[at] + epsilon_)));
  }
}

void NormalizeBackwardPlan::start(int64_t begin, int64_t end) {
  if (geometry_.size() == 0) return;
  std::vector<double> groups(2 * geometry_.groups);
  GroupNumbers numbers(geometry_, division_.columns);
  for (int64_t k = begin; k < end; ++k) {
    const Part& part = division_.parts[k];
    Sums sums = make_sums();
    for (int64_t sample = part.first; sample < part.last; ++sample) {
      load(sample, numbers);
      double* to = whole() ? groups.data() : &partial_[k * 2 * geometry_.groups];
      if (whole()) std::fill(groups.begin(), groups.end(), 0.0);
      reduce(sample, part.begin, part.end, numbers, sums, to);
      if (!whole()) continue;
      conclude(to, numbers);
      apply(sample, 0, geometry_.inner, numbers);
    }
    flush(sums);
    sums_[k] = std::move(sums);
  }
  if (past_) finish_past();
}

void NormalizeBackwardPlan::settle() {
  if (geometry_.size() == 0) return;
  std::vector<double> by_gamma(geometry_.parameters), by_beta(geometry_.parameters);
  for (const Sums& sums : sums_)
    for (int64_t place = 0; place < spread_.size(); ++place) {
      by_gamma[spread_.parameter(place)] += sums.by_gamma[place];
      by_beta[spread_.parameter(place)] += sums.by_beta[place];
    }
  std::copy(by_gamma.begin(), by_gamma.end(), by_gamma_);
  std::copy(by_beta.begin(), by_beta.end(), by_beta_);
  if (whole()) return;
  std::vector<double> groups(2 * geometry_.groups);
  for (int64_t k = 0; k < parts();) {
    const int64_t sample = division_.parts[k].first;
    std::fill(groups.begin(), groups.end(), 0.0);
    for (; k < parts() && division_.parts[k].first == sample; ++k)
      for (int64_t i = 0; i < 2 * geometry_.groups; ++i) groups[i] += partial_[k * 2 * geometry_.groups + i];
    numbers_.emplace_back(geometry_, division_.columns);
    load(sample, numbers_.back());
    conclude(groups.data(), numbers_.back());
  }
}

void NormalizeBackwardPlan::finish(int64_t begin, int64_t end) const {
  if (whole()) return;
  for (int64_t k = begin; k < end; ++k) {
    const Part& part = division_.parts[k];
    apply(part.first, part.begin, part.end, numbers_[part.first]);
  }
  if (past_) finish_past();
}

void NormalizeBackwardPlan::reduce(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers,
                                   Sums& sums, double* groups) const {
  if (division_.columns) return reduce_columns(sample, begin, end, numbers, sums, groups);
  const bool again = !spread_.uniform() && geometry_.period() < geometry_.width;
  visit_stretches(geometry_, spread_, begin, end, [&](int64_t group, int64_t element, int64_t n) {
    const int64_t at = sample * geometry_.sample() + element;
    reduce_stretch(at, element, n, numbers.at(group), sums, groups + 2 * group);
    // How often a place may have been met since: in each stretch, or once in a row or period.
    if (again) {
      note(sums, 1);
    } else if (element % std::max(geometry_.row(), geometry_.period()) == 0) {
      note(sums, std::max<int64_t>(1, geometry_.row() / geometry_.period()));
    }
  });
}

void NormalizeBackwardPlan::reduce_stretch(int64_t at, int64_t element, int64_t n, Numbers by, Sums& sums,
                                           double* group) const {
  const void *x = x_.at(at), *upstream = upstream_.at(at);
  const int64_t place = spread_.place(element);
  by.gamma = spread_.gamma(place);
  if (!spread_.uniform())
    return loops_.add_row(x, upstream, by, n, &sums.recent_gamma[place], &sums.recent_beta[place], group);
  double found[2] = {0, 0};
  loops_.add_products(x, upstream, *by.mean, n, found);
  found[1] *= *by.inverse;
  sums.by_beta[place] += found[0];
  sums.by_gamma[place] += found[1];
  group[0] += *by.gamma * found[0];
  group[1] += *by.gamma * found[1];
}

void NormalizeBackwardPlan::reduce_columns(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers,
                                           Sums& sums, double* groups) const {
  const int64_t length = geometry_.row();
  std::vector<double> plain(length), products(length);
  visit_columns(geometry_, begin, end, [&](int64_t row, int64_t column, const Block& block) {
    const int64_t at = sample * geometry_.sample() + row * length + column;
    Numbers by = numbers.at(column);
    if (fixed())
      return loops_.add_column_products(x_.at(at), upstream_.at(at), block, by.mean, &plain[column], &products[column]);
    const int64_t place = spread_.place(row * length) + column;
    for (int64_t k = 0; k < block.rows; ++k) {
      by.gamma = spread_.gamma(place + k * length);
      loops_.add_elements(x_.at(at + k * length), upstream_.at(at + k * length), by, block.length,
                          &sums.recent_gamma[place + k * length], &sums.recent_beta[place + k * length],
                          &plain[column], &products[column]);
    }
  });
  if (fixed()) return add_columns(numbers, plain.data(), products.data(), sums, groups);
  note(sums, std::max<int64_t>(1, (end - begin) * length / geometry_.period()));
  for (int64_t j = 0; j < length; ++j) {
    groups[j / geometry_.width * 2] += plain[j];
    groups[j / geometry_.width * 2 + 1] += products[j];
  }
}

void NormalizeBackwardPlan::add_columns(const GroupNumbers& numbers, const double* plain, const double* products,
                                        Sums& sums, double* groups) const {
  for (int64_t j = 0; j < geometry_.row(); ++j) {
    const double gamma = *spread_.gamma(j), product = products[j] * *numbers.at(j).inverse;
    sums.by_beta[j] += plain[j];
    sums.by_gamma[j] += product;
    groups[j / geometry_.width * 2] += gamma * plain[j];
    groups[j / geometry_.width * 2 + 1] += gamma * product;
  }
}

void NormalizeBackwardPlan::conclude(const double* groups, GroupNumbers& numbers) const {
  const int64_t width = division_.columns ? geometry_.width : 1;
  const double count = static_cast<double>(geometry_.count());
  for (int64_t group = 0; group < geometry_.groups; ++group) {
    const double inverse = *numbers.at(group * width).inverse;
    numbers.set_slopes(group, static_cast<float>(inverse * groups[2 * group] / count),
                       static_cast<float>(inverse * inverse * groups[2 * group + 1] / count));
  }
}

void NormalizeBackwardPlan::apply(int64_t sample, int64_t begin, int64_t end, const GroupNumbers& numbers) const {
  if (division_.columns) return apply_columns(sample, begin, end, numbers);
  const auto loop = loops_.apply_backward[spread_.uniform() ? kUniform : kParameters];
  visit_stretches(geometry_, spread_, begin, end, [&](int64_t group, int64_t element, int64_t n) {
    const int64_t at = sample * geometry_.sample() + element;
    Numbers by = numbers.at(group);
    by.gamma = spread_.gamma(spread_.place(element));
    loop(x_.at(at), upstream_.at(at), {1, n, n, 0}, by, by_x_.at(at), past_);
  });
}

void NormalizeBackwardPlan::apply_columns(int64_t sample, int64_t begin, int64_t end,
                                          const GroupNumbers& numbers) const {
  const int64_t length = geometry_.row();
  visit_columns(geometry_, begin, end, [&](int64_t row, int64_t column, const Block& block) {
    const int64_t at = sample * geometry_.sample() + row * length + column;
    Numbers by = numbers.at(column);
    by.gamma = spread_.gamma((fixed() ? 0 : spread_.place(row * length)) + column);
    loops_.apply_backward[kColumns](x_.at(at), upstream_.at(at), block, by, by_x_.at(at), past_);
  });
}

}  // namespace tfopt
