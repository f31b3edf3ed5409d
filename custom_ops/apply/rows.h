// Products of long vectors with each other, and sums of their multiples, in double; no TensorFlow.
//
// The elements are cut into blocks of one size. Each is worked on by one thread, and what blocks sum to is added
// in order: the result is the same however many threads there are.
#pragma once
#include <cstdint>
#include <vector>

#include "custom_ops/apply/table.h"

namespace tfopt {

// Vectors of one type, each of `size` elements.
struct TFOPT_SHARED Vectors {
  Type type = kFloat;
  int64_t size = 0;
  std::vector<const void*> places;

  int count() const { return static_cast<int>(places.size()); }
  // Adds those that lie in a row behind one another.
  void add(const void* first, int64_t count);
  const void* at(int i, int64_t element) const;
};

// From one iterate to the next: where it was and is, and the gradients there.
struct TFOPT_SHARED Ends {
  const void *point, *iterate, *gradient, *last_gradient;
};

// Every row times every vector; each is read once.
class TFOPT_SHARED ProductsPlan {
 public:
  ProductsPlan(const Table& table, const Vectors& rows, const Vectors& vectors);

  // Blocks [begin, end) of blocks(); ranges that do not overlap may run at the same time.
  int64_t blocks() const { return blocks_; }
  int64_t elements_of_block() const;
  void run(int64_t begin, int64_t end);

  // After all blocks: [rows, vectors].
  void finish(double* products) const;

 private:
  void sum_block(int64_t block, double* scratch);

  const StretchKernel& kernel_;
  const Vectors &rows_, &vectors_;
  const int64_t blocks_, products_;
  std::vector<double> sums_;  // of each block
};

// s and y, the differences of the iterates and of their gradients, and what is to be known of them, each vector
// read once. What the largest component is counts only where none is NaN.
class TFOPT_SHARED MovePlan {
 public:
  MovePlan(const Table& table, const Vectors& rows, const Ends& ends, void* s, void* y);

  int64_t blocks() const { return blocks_; }
  int64_t elements_of_block() const;
  void run(int64_t begin, int64_t end);

  // After all blocks: [rows and s and y, y and gradient], then sᵀs and the gradient's largest absolute component.
  void finish(double* products, double* of_s, double* largest) const;

 private:
  void move_block(int64_t block, double* scratch);
  void multiply(int64_t first, int64_t n, const double* scratch, double* sums) const;

  const StretchKernel& kernel_;
  const Vectors& rows_;
  const Ends ends_;
  void *const s_, *const y_;
  const int64_t blocks_, products_;
  std::vector<double> sums_, largest_;  // of each block
};

// Σ factorᵢ rowᵢ; a row whose factor is 0 is not looked at.
class TFOPT_SHARED CombinationPlan {
 public:
  CombinationPlan(const Table& table, const Vectors& rows, const double* factors, void* to);
  // The sum d is to be multiplied with a vector, and with itself.
  CombinationPlan(const Table& table, const Vectors& rows, const double* factors, void* to, const void* vector);

  int64_t blocks() const { return blocks_; }
  int64_t elements_of_block() const;
  void run(int64_t begin, int64_t end);

  // After all blocks: the vector times d, and d times d.
  void finish(double* products) const;

 private:
  void sum_of_two(int64_t begin, int64_t end) const;
  void sum_and_multiply(int64_t block);
  void sum_stretch(int64_t begin, int64_t n, double* sums) const;

  const StretchKernel& kernel_;
  Vectors rows_;
  std::vector<double> factors_;
  void* const to_;
  const void* const vector_;
  const int64_t blocks_;
  std::vector<double> products_;  // of each block
};

}  // namespace tfopt
