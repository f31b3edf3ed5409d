// What is wrong with the arguments of the C functions for normalisation.
#pragma once
#include <string>

#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/norm/layout.h"

namespace tfopt {
namespace cuda {

inline Geometry as_geometry(const tfopt_geometry& from) {
  return {from.outer, from.inner, from.groups, from.width, from.parameters, from.run};
}

// A sentence, or an empty string where they are right.
std::string fault_of(const tfopt_geometry& geometry);
std::string fault_of(const tfopt_normalize* step);
std::string fault_of(const tfopt_normalize_backward* step);

}  // namespace cuda
}  // namespace tfopt
