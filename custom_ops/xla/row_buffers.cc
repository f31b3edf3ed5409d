#include "custom_ops/xla/row_buffers.h"

namespace tfopt {

using xla::ffi::AnyBuffer;
using xla::ffi::Error;

Error RowsCall::read_rows(size_t others) {
  const auto& all = buffers_.operands;
  if (buffers_.results.size() != 1) return refused_call(target_, "expected one result");
  if (all.size() <= others) return refused_call(target_, "expected rows and ", others, " more, got ", all.size());
  rows_.type = type_of(all[0]);
  if (rows_.type != kFloat && rows_.type != kDouble) return refused_call(target_, "rows are of float32 or float64");
  if (all[0].dimensions().size() == 0) return refused_call(target_, "operand 0 is no vector");
  rows_.size = all[0].dimensions().back();
  if (rows_.size == 0) return refused_call(target_, "rows have no elements");
  for (size_t i = 0; i + others < all.size(); ++i)
    if (Error error = read(all[i], &rows_); error.failure()) return error;
  return rows_.count() > 0 ? Error::Success() : refused_call(target_, "expected at least one row");
}

Error RowsCall::read(const AnyBuffer& buffer, Vectors* to) const {
  const auto shape = buffer.dimensions();
  if (type_of(buffer) != rows_.type || shape.size() < 1 || shape.size() > 2 || shape.back() != rows_.size)
    return refused_call(target_, "expected vectors and matrices of one type with rows of ", rows_.size, " elements");
  to->add(buffer.untyped_data(), shape.size() == 1 ? 1 : shape.front());
  return Error::Success();
}

Error RowsCall::check_products() {
  if (buffers_.results.size() != 1 || buffers_.results[0].dimensions().size() != 2)
    return refused_call(target_, "expected a matrix as result");
  const AnyBuffer& result = buffers_.results[0];
  const int64_t count = result.dimensions()[1];
  if (count == 0) return refused_call(target_, "expected at least one vector");
  if (Error error = read_rows(count); error.failure()) return error;
  vectors_.type = rows_.type;
  vectors_.size = rows_.size;
  const size_t first = buffers_.operands.size() - count;
  for (int64_t k = 0; k < count; ++k)
    if (Error error = read(buffers_.operands[first + k], &vectors_); error.failure()) return error;
  if (vectors_.count() != count || type_of(result) != kDouble || result.dimensions()[0] != rows_.count())
    return refused_call(target_, "expected ", rows_.count(), " × ", count, " float64 as result");
  return Error::Success();
}

Error RowsCall::check_combination() {
  if (Error error = read_rows(1); error.failure()) return error;
  const AnyBuffer &factors = buffers_.operands.back(), &result = buffers_.results[0];
  const int64_t count = factors.element_count(), length = result.element_count();
  if (type_of(factors) != kDouble || count != rows_.count())
    return refused_call(target_, "expected ", rows_.count(), " float64 as factors, got ", count);
  if (type_of(result) != rows_.type || length != rows_.size)
    return refused_call(target_, "expected ", rows_.size, " elements of the rows' type as result, got ", length);
  return Error::Success();
}

}  // namespace tfopt
