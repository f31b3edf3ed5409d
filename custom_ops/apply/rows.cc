#include "custom_ops/apply/rows.h"

#include <algorithm>

namespace tfopt {
namespace {

// Elements that one thread takes at a time, and those of them that stay in the fastest cache meanwhile.
constexpr int64_t kBlock = 1 << 12;
constexpr int64_t kStretch = 1 << 10;

int64_t blocks_of(int64_t size) { return (size + kBlock - 1) / kBlock; }

}  // namespace

void Vectors::add(const void* first, int64_t count) {
  const char* place = static_cast<const char*>(first);
  for (int64_t i = 0; i < count; ++i) places.push_back(place + i * size * size_of(type));
}

const void* Vectors::at(int i, int64_t element) const {
  return static_cast<const char*>(places[i]) + element * size_of(type);
}

ProductsPlan::ProductsPlan(const Table& table, const Vectors& rows, const Vectors& vectors)
    : kernel_(*table.stretch[rows.type]),
      rows_(rows),
      vectors_(vectors),
      blocks_(blocks_of(rows.size)),
      products_(static_cast<int64_t>(rows.count()) * vectors.count()),
      sums_(blocks_ * products_) {}

int64_t ProductsPlan::elements_of_block() const {
  return std::min(kBlock, rows_.size) * (rows_.count() + vectors_.count());
}

void ProductsPlan::run(int64_t begin, int64_t end) {
  std::vector<double> scratch(kStretch * vectors_.count());
  for (int64_t block = begin; block < end; ++block) sum_block(block, scratch.data());
}

void ProductsPlan::sum_block(int64_t block, double* scratch) {
  double* sums = sums_.data() + block * products_;
  const int64_t end = std::min(rows_.size, (block + 1) * kBlock);
  for (int64_t first = block * kBlock; first < end; first += kStretch) {
    const int64_t n = std::min(kStretch, end - first);
    for (int k = 0; k < vectors_.count(); ++k) kernel_.widen(vectors_.at(k, first), scratch + k * kStretch, n);
    const void* places[kRowsAtOnce];
    for (int i = 0, taken = 0; i < rows_.count(); i += taken) {
      const bool several = i + kRowsAtOnce <= rows_.count();
      taken = several ? kRowsAtOnce : 1;
      for (int k = 0; k < taken; ++k) places[k] = rows_.at(i + k, first);
      const auto add = several ? kernel_.add_products : kernel_.add_products_of_one;
      add(places, scratch, kStretch, vectors_.count(), n, sums + i * vectors_.count());
    }
  }
}

void ProductsPlan::finish(double* products) const {
  std::fill_n(products, products_, 0.0);
  for (int64_t block = 0; block < blocks_; ++block)
    for (int64_t i = 0; i < products_; ++i) products[i] += sums_[block * products_ + i];
}

CombinationPlan::CombinationPlan(const Table& table, const Vectors& rows, const double* factors, void* to)
    : kernel_(*table.stretch[rows.type]), to_(to), blocks_(blocks_of(rows.size)) {
  rows_.type = rows.type;
  rows_.size = rows.size;
  for (int i = 0; i < rows.count(); ++i) {
    if (factors[i] == 0) continue;
    rows_.places.push_back(rows.places[i]);
    factors_.push_back(factors[i]);
  }
}

int64_t CombinationPlan::elements_of_block() const { return std::min(kBlock, rows_.size) * (rows_.count() + 1); }

void CombinationPlan::run(int64_t begin, int64_t end) const {
  const int64_t last = std::min(rows_.size, end * kBlock);
  if (rows_.count() == 2) return sum_of_two(begin * kBlock, last);
  double sums[kStretch];
  for (int64_t first = begin * kBlock; first < last; first += kStretch) {
    const int64_t n = std::min(kStretch, last - first);
    sum_stretch(first, n, sums);
    kernel_.narrow(sums, static_cast<char*>(to_) + first * size_of(rows_.type), n);
  }
}

void CombinationPlan::sum_of_two(int64_t begin, int64_t end) const {
  const void* places[] = {rows_.at(0, begin), rows_.at(1, begin)};
  kernel_.sum_of_two(places, factors_.data(), static_cast<char*>(to_) + begin * size_of(rows_.type), end - begin);
}

void CombinationPlan::sum_stretch(int64_t begin, int64_t n, double* sums) const {
  std::fill_n(sums, n, 0.0);
  int i = 0;
  for (; i + kRowsAtOnce <= rows_.count(); i += kRowsAtOnce) {
    const void* places[kRowsAtOnce];
    for (int k = 0; k < kRowsAtOnce; ++k) places[k] = rows_.at(i + k, begin);
    kernel_.add_multiples(places, factors_.data() + i, sums, n);
  }
  for (; i < rows_.count(); ++i) kernel_.add_multiple(rows_.at(i, begin), factors_[i], sums, n);
}

}  // namespace tfopt
