// What is wrong with the arguments of the C functions.
#pragma once
#include <string>

#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/apply/table.h"
#include "custom_ops/rules/facts.h"

namespace tfopt {
namespace cuda {

// A sentence, or an empty string where they are right.
std::string fault_of(const tfopt_update* update);
std::string fault_of(const tfopt_norms* norms);
std::string fault_of(Type type, const tfopt_values* values, int32_t count);

}  // namespace cuda
}  // namespace tfopt
