// The loops in the instruction set TFOPT_ISA.
#pragma once
#include "custom_ops/norm/loops.h"

namespace tfopt {
namespace TFOPT_ISA {

extern const NormalizeLoops kNormalizeFloat, kNormalizeHalf, kNormalizeBfloat16;

}  // namespace TFOPT_ISA
}  // namespace tfopt
