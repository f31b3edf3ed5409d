#include "custom_ops/apply/rows.h"

#include <algorithm>
#include <type_traits>

namespace tfopt {
namespace {

// Elements that one thread takes at a time, and those of them that stay in the fastest cache meanwhile.
constexpr int64_t kBlock = 1 << 12;
constexpr int64_t kStretch = 1 << 10;

int64_t blocks_of(int64_t size) { return (size + kBlock - 1) / kBlock; }

// Adds the products of all rows with `count` vectors, wide and kStretch apart, over n elements from `first` on.
void add_products(const StretchKernel& kernel, const Vectors& rows, int64_t first, int64_t n, const double* vectors,
                  int count, double* sums) {
  const void* places[kRowsAtOnce];
  for (int i = 0, taken = 0; i < rows.count(); i += taken) {
    const bool several = i + kRowsAtOnce <= rows.count();
    taken = several ? kRowsAtOnce : 1;
    for (int k = 0; k < taken; ++k) places[k] = rows.at(i + k, first);
    const auto add = several ? kernel.add_products : kernel.add_products_of_one;
    add(places, vectors, kStretch, count, n, sums + i * count);
  }
}

// Element `first` of a vector.
template <class Place>
Place at(Place vector, Type type, int64_t first) {
  using Bytes = std::conditional_t<std::is_const_v<std::remove_pointer_t<Place>>, const char*, char*>;
  return static_cast<Bytes>(vector) + first * size_of(type);
}

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
    add_products(kernel_, rows_, first, n, scratch, vectors_.count(), sums);
  }
}

void ProductsPlan::finish(double* products) const {
  std::fill_n(products, products_, 0.0);
  for (int64_t block = 0; block < blocks_; ++block)
    for (int64_t i = 0; i < products_; ++i) products[i] += sums_[block * products_ + i];
}

MovePlan::MovePlan(const Table& table, const Vectors& rows, const Ends& ends, void* s, void* y)
    : kernel_(*table.stretch[rows.type]),
      rows_(rows),
      ends_(ends),
      s_(s),
      y_(y),
      blocks_(blocks_of(rows.size)),
      products_(2 * rows.count() + 5),
      sums_(blocks_ * products_),
      largest_(blocks_) {}

int64_t MovePlan::elements_of_block() const { return std::min(kBlock, rows_.size) * (rows_.count() + 6); }

void MovePlan::run(int64_t begin, int64_t end) {
  std::vector<double> scratch(kStretch * 3);
  for (int64_t block = begin; block < end; ++block) move_block(block, scratch.data());
}

void MovePlan::move_block(int64_t block, double* scratch) {
  constexpr double kDifference[] = {1, -1};
  const Type type = rows_.type;
  double* sums = sums_.data() + block * products_;
  const int64_t end = std::min(rows_.size, (block + 1) * kBlock);
  for (int64_t first = block * kBlock; first < end; first += kStretch) {
    const int64_t n = std::min(kStretch, end - first);
    const void* iterates[] = {at(ends_.point, type, first), at(ends_.iterate, type, first)};
    const void* gradients[] = {at(ends_.gradient, type, first), at(ends_.last_gradient, type, first)};
    kernel_.sum_of_two(iterates, kDifference, at(s_, type, first), n);
    kernel_.sum_of_two(gradients, kDifference, at(y_, type, first), n);
    kernel_.widen(at(y_, type, first), scratch, n);
    kernel_.widen(gradients[0], scratch + kStretch, n);
    kernel_.widen(at(s_, type, first), scratch + 2 * kStretch, n);
    largest_[block] = kernel_.largest(scratch + kStretch, largest_[block], n);
    multiply(first, n, scratch, sums);
  }
}

void MovePlan::multiply(int64_t first, int64_t n, const double* scratch, double* sums) const {
  add_products(kernel_, rows_, first, n, scratch, 2, sums);
  double* own = sums + 2 * rows_.count();
  const void* s = at(s_, rows_.type, first);
  const void* y = at(y_, rows_.type, first);
  kernel_.add_products_of_one(&s, scratch, kStretch, 2, n, own);
  kernel_.add_products_of_one(&y, scratch, kStretch, 2, n, own + 2);
  kernel_.add_products_of_one(&s, scratch + 2 * kStretch, kStretch, 1, n, own + 4);
}

void MovePlan::finish(double* products, double* of_s, double* largest) const {
  std::fill_n(products, products_ - 1, 0.0);
  *of_s = *largest = 0;
  for (int64_t block = 0; block < blocks_; ++block) {
    const double* sums = sums_.data() + block * products_;
    for (int64_t i = 0; i < products_ - 1; ++i) products[i] += sums[i];
    *of_s += sums[products_ - 1];
    *largest = std::max(*largest, largest_[block]);
  }
}

CombinationPlan::CombinationPlan(const Table& table, const Vectors& rows, const double* factors, void* to)
    : CombinationPlan(table, rows, factors, to, nullptr) {}

CombinationPlan::CombinationPlan(const Table& table, const Vectors& rows, const double* factors, void* to,
                                 const void* vector)
    : kernel_(*table.stretch[rows.type]),
      to_(to),
      vector_(vector),
      blocks_(blocks_of(rows.size)),
      products_(vector ? 2 * blocks_ : 0) {
  rows_.type = rows.type;
  rows_.size = rows.size;
  for (int i = 0; i < rows.count(); ++i) {
    if (factors[i] == 0) continue;
    rows_.places.push_back(rows.places[i]);
    factors_.push_back(factors[i]);
  }
}

int64_t CombinationPlan::elements_of_block() const { return std::min(kBlock, rows_.size) * (rows_.count() + 1); }

void CombinationPlan::run(int64_t begin, int64_t end) {
  const int64_t last = std::min(rows_.size, end * kBlock);
  if (vector_) {
    for (int64_t block = begin; block < end; ++block) sum_and_multiply(block);
    return;
  }
  if (rows_.count() == 2) return sum_of_two(begin * kBlock, last);
  double sums[kStretch];
  for (int64_t first = begin * kBlock; first < last; first += kStretch) {
    const int64_t n = std::min(kStretch, last - first);
    sum_stretch(first, n, sums);
    kernel_.narrow(sums, static_cast<char*>(to_) + first * size_of(rows_.type), n);
  }
}

void CombinationPlan::sum_and_multiply(int64_t block) {
  double sums[kStretch], others[2 * kStretch];
  const Type type = rows_.type;
  const int64_t end = std::min(rows_.size, (block + 1) * kBlock);
  for (int64_t first = block * kBlock; first < end; first += kStretch) {
    const int64_t n = std::min(kStretch, end - first);
    const void* sum = at(to_, type, first);
    sum_stretch(first, n, sums);
    kernel_.narrow(sums, at(to_, type, first), n);
    // As it is once rounded.
    kernel_.widen(at(vector_, type, first), others, n);
    kernel_.widen(sum, others + kStretch, n);
    kernel_.add_products_of_one(&sum, others, kStretch, 2, n, products_.data() + 2 * block);
  }
}

void CombinationPlan::finish(double* products) const {
  products[0] = products[1] = 0;
  for (int64_t block = 0; block < blocks_; ++block)
    for (int i = 0; i < 2; ++i) products[i] += products_[2 * block + i];
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
