// Inner loops over a stretch of n elements of several vectors, in the instruction set TFOPT_ISA.
#pragma once
#include "custom_ops/apply/table.h"

namespace tfopt {
namespace TFOPT_ISA {

extern const StretchKernel kStretchFloat, kStretchDouble;

}  // namespace TFOPT_ISA
}  // namespace tfopt
