// What is wrong with the arguments of the C functions.
#pragma once
#include <string>

#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/rules/facts.h"

namespace tfopt {
namespace cuda {

// A sentence, or an empty string where they are right.
std::string fault_of(const tfopt_update* update);
std::string fault_of(int32_t type, const tfopt_values* values, int32_t count, double limit,
                     const double* workspace, const double* norm);

}  // namespace cuda
}  // namespace tfopt
