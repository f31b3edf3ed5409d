// What the forward and the backward pass share: statistics as the loops want them, and the ways through a tensor.
#pragma once
#include <type_traits>
#include <vector>

#include "custom_ops/apply/table.h"
#include "custom_ops/norm/layout.h"

namespace tfopt {

// Bytes of a tensor that will have left every cache when it is read again.
constexpr int64_t kCache = int64_t{1} << 23;

// What belongs to each group of a sample, or by column to its group.
class GroupNumbers {
 public:
  GroupNumbers(const Geometry& geometry, bool columns)
      : width_(columns ? geometry.width : 1), mean_(geometry.groups * width_), inverse_(mean_), common_(mean_), slope_(mean_) {}

  void set(int64_t group, float mean, float inverse) {
    fill(mean_, group, mean);
    fill(inverse_, group, inverse);
  }
  void set_slopes(int64_t group, float common, float slope) {
    fill(common_, group, common);
    fill(slope_, group, slope);
  }

  // From the one at this place on.
  Numbers at(int64_t place) const {
    return {&mean_[place], &inverse_[place], nullptr, nullptr, &common_[place], &slope_[place]};
  }

 private:
  void fill(std::vector<float>& numbers, int64_t group, float number) {
    for (int64_t k = 0; k < width_; ++k) numbers[group * width_ + k] = number;
  }

  int64_t width_;
  std::vector<float> mean_, inverse_, common_, slope_;
};

// A tensor that is read, or written.
template <class Pointer>
struct Elements {
  Pointer values;
  int64_t size;  // bytes of each

  Pointer at(int64_t i) const {
    using Bytes = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const char*, char*>;
    return static_cast<Bytes>(values) + i * size;
  }
};

// Whether what is written should go past the caches: where it is too large to be met there again. Not in float16,
// where a core computes for longer than it waits for memory, and the way past the caches adds to that.
inline bool past_caches(const Geometry& geometry, Type type) {
  return type != kHalf && geometry.size() * size_of(type) >= kCache;
}

// Calls visit(group, element, n) for all elements of some rows, in stretches of one group whose parameters lie in
// one piece; `element` is counted from the start of the sample.
template <class Visit>
void visit_stretches(const Geometry& geometry, const Spread& spread, int64_t begin, int64_t end, const Visit& visit) {
  for (int64_t row = begin; row < end; ++row)
    for (int64_t group = 0; group < geometry.groups; ++group) {
      int64_t element = row * geometry.row() + group * geometry.width;
      for (int64_t rest = geometry.width, n; rest > 0; rest -= n, element += n) {
        n = spread.piece(element, rest);
        visit(group, element, n);
      }
    }
}

// Calls visit(row, column, block) for all elements of some rows, in blocks whose parameters lie in one piece.
template <class Visit>
void visit_columns(const Geometry& geometry, int64_t begin, int64_t end, const Visit& visit) {
  const int64_t length = geometry.row(), period = geometry.period();
  const int64_t stride = period > length ? period / length : end;  // rows with parameters in one piece
  for (int64_t column = 0; column < length; column += kStretch) {
    const int64_t n = length - column < kStretch ? length - column : kStretch;
    for (int64_t row = begin; row < end;) {
      int64_t rows = stride - row % stride;
      if (rows > end - row) rows = end - row;
      visit(row, column, Block{rows, n, length, period > length ? length : 0});
      row += rows;
    }
  }
}

}  // namespace tfopt
