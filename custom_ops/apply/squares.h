// The sum of squares of n numbers, in the instruction set TFOPT_ISA.
#pragma once
#include <stdint.h>

#include "custom_ops/apply/table.h"

namespace tfopt {
namespace TFOPT_ISA {

Squares squares_float(const void* values, int64_t n);
Squares squares_double(const void* values, int64_t n);

}  // namespace TFOPT_ISA
}  // namespace tfopt
