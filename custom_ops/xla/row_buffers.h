// What a compiled program hands to the targets for rows: checked, and as the kernels take it.
#pragma once
#include "custom_ops/apply/rows.h"
#include "custom_ops/xla/buffers.h"

namespace tfopt {

// Rows, and behind them vectors or factors, in; one result.
class RowsCall {
 public:
  RowsCall(const char* target, const Buffers& buffers) : target_(target), buffers_(buffers) {}

  // Why it cannot be done; after success the other methods may be called.
  xla::ffi::Error check_products();
  xla::ffi::Error check_combination();

  const Vectors& rows() const { return rows_; }
  const Vectors& vectors() const { return vectors_; }
  const double* factors() const { return static_cast<const double*>(buffers_.operands.back().untyped_data()); }
  void* result() const { return buffers_.results[0].untyped_data(); }

 private:
  // Takes all but the last `others` operands for rows.
  xla::ffi::Error read_rows(size_t others);
  xla::ffi::Error read(const xla::ffi::AnyBuffer& buffer, Vectors* to) const;

  const char* const target_;
  const Buffers& buffers_;
  Vectors rows_, vectors_;
};

}  // namespace tfopt
