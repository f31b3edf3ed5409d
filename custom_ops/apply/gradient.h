// Where a variable's gradient comes from: a buffer like the variable's own, or some of its rows; an
// accumulator may add to it. No TensorFlow.
#pragma once
#include <cstdint>
#include <vector>

#include "custom_ops/apply/table.h"

namespace tfopt {

// Elements worked on before the next; a tile of everything an update touches stays in the nearest cache.
constexpr int64_t kTile = 1024;

// A tile in the type to compute in.
struct alignas(64) Scratch {
  char bytes[kTile * sizeof(double)];
};

// Which rows of a variable the rows of a gradient belong to. Several may belong to one: they add up.
class Rows {
 public:
  // A row of the variable, and the place of a row of the gradient that belongs to it.
  struct Entry {
    int64_t row, place;
  };

  // The gradient's rows have `length` elements each.
  Rows(const int64_t* indices, int64_t count, int64_t length);

  // The variable without the rows that have no gradient.
  Rows compact() const;

  int64_t length() const { return length_; }
  // In order of the rows, those of one row in the order in which they came.
  const std::vector<Entry>& entries() const { return entries_; }
  // The number of rows of the smallest variable that has them all.
  int64_t rows() const { return entries_.empty() ? 0 : entries_.back().row + 1; }
  // Whether a variable of so many rows has them all.
  bool inside(int64_t rows) const {
    return entries_.empty() || (entries_.front().row >= 0 && entries_.back().row < rows);
  }

 private:
  std::vector<Entry> entries_;
  int64_t length_;
};

struct Gradient {
  const void* values = nullptr;
  const Rows* rows = nullptr;   // null: values are as long as the variable
  void* accumulator = nullptr;  // null: nothing is added; in the type to compute in

  // Whether it can be read as it lies.
  bool direct(Type type) const { return !rows && !accumulator && type == compute_type(type); }

  // Elements [begin, begin + n), n at most kTile, in the type to compute in: where they lie, or in `scratch`.
  const void* tile(const Table& table, Type type, int64_t begin, int64_t n, Scratch& scratch) const;
};

inline void* advance(void* pointer, int64_t elements, Type type) {
  return static_cast<char*>(pointer) + elements * size_of(type);
}

inline const void* advance(const void* pointer, int64_t elements, Type type) {
  return static_cast<const char*>(pointer) + elements * size_of(type);
}

}  // namespace tfopt
