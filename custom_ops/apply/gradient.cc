#include "custom_ops/apply/gradient.h"

#include <algorithm>
#include <cstring>

namespace tfopt {
namespace {

bool before(const Rows::Entry& left, const Rows::Entry& right) { return left.row < right.row; }

// n elements from `begin` on, in the type to compute in.
const void* widened(const Table& table, const void* values, Type type, int64_t begin, int64_t n, Scratch& scratch) {
  values = advance(values, begin, type);
  if (type == compute_type(type)) return values;
  table.widen[type](values, reinterpret_cast<float*>(scratch.bytes), n);
  return scratch.bytes;
}

void gather(const Table& table, const Gradient& gradient, Type type, int64_t begin, int64_t n, Scratch& scratch) {
  const Type compute = compute_type(type);
  const int64_t length = gradient.rows->length(), end = begin + n;
  std::memset(scratch.bytes, 0, n * size_of(compute));
  Scratch wide;
  const auto& entries = gradient.rows->entries();
  auto entry = std::lower_bound(entries.begin(), entries.end(), Rows::Entry{begin / length, 0}, before);
  for (; entry != entries.end() && entry->row * length < end; ++entry) {
    const int64_t first = std::max(begin, entry->row * length), last = std::min(end, (entry->row + 1) * length);
    const int64_t source = entry->place * length + first - entry->row * length;
    const void* row = widened(table, gradient.values, type, source, last - first, wide);
    void* to = advance(static_cast<void*>(scratch.bytes), first - begin, compute);
    table.add[compute](to, row, to, last - first);
  }
}

}  // namespace

Rows::Rows(const int64_t* indices, int64_t count, int64_t length) : length_(length) {
  entries_.reserve(count);
  for (int64_t i = 0; i < count; ++i) entries_.push_back({indices[i], i});
  if (!std::is_sorted(entries_.begin(), entries_.end(), before))
    std::stable_sort(entries_.begin(), entries_.end(), before);
}

Rows Rows::compact() const {
  Rows made = *this;
  int64_t row = -1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (i == 0 || entries_[i].row != entries_[i - 1].row) ++row;
    made.entries_[i].row = row;
  }
  return made;
}

const void* Gradient::tile(const Table& table, Type type, int64_t begin, int64_t n, Scratch& scratch) const {
  const Type compute = compute_type(type);
  const void* own = scratch.bytes;
  if (rows)
    gather(table, *this, type, begin, n, scratch);
  else
    own = widened(table, values, type, begin, n, scratch);
  if (!accumulator) return own;
  table.add[compute](own, advance(accumulator, begin, compute), scratch.bytes, n);
  return scratch.bytes;
}

}  // namespace tfopt
