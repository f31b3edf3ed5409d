// The loops in the instruction set TFOPT_ISA.
#pragma once
#include "custom_ops/codes/loops.h"

namespace tfopt {
namespace TFOPT_ISA {

extern const CodesLoops kCodesFloat, kCodesDouble;

}  // namespace TFOPT_ISA
}  // namespace tfopt
