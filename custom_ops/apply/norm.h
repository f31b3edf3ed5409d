// Euclidean norms of gradients, one by one and of all together; no TensorFlow.
//
// Every gradient is cut into blocks of one size, each block is summed by one thread, and the sums are added in
// order: the result is the same however many threads there are. Squares are taken and summed in double, so for
// gradients of up to 2^28 elements the relative error of a norm is below 1e-12.
#pragma once
#include <cstdint>
#include <vector>

#include "custom_ops/apply/gradient.h"

namespace tfopt {

class TFOPT_SHARED NormPlan {
 public:
  NormPlan(const Table& table, Type type) : table_(table), type_(type) {}

  // `size` elements: those of the variable, or of `gradient.rows` where they are compact.
  void add(const Gradient& gradient, int64_t size);

  // Blocks [begin, end) of blocks(); ranges that do not overlap may run at the same time.
  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t elements() const { return elements_; }
  void run(int64_t begin, int64_t end);

  // After all blocks: the norm of gradient i, and of all. Not finite if an element is not.
  double norm(int i) const;
  double global_norm() const;

 private:
  struct Block {
    int gradient;
    int64_t begin, end;
    Squares sum;
  };

  Squares sum_block(const Gradient& gradient, int64_t begin, int64_t end) const;
  Squares sum_of(int i) const;

  const Table& table_;
  const Type type_;
  std::vector<Gradient> gradients_;
  std::vector<int64_t> firsts_ = {0};  // first block of each gradient, and the end
  std::vector<Block> blocks_;
  int64_t elements_ = 0;
};

}  // namespace tfopt
