// The custom calls by which a compiled program reaches the kernels: their names and attributes.
#pragma once

namespace tfopt {

constexpr char kUpdateTarget[] = "tfopt_fused_update";
constexpr char kRuleAttribute[] = "rule";            // a name
constexpr char kGroupsAttribute[] = "groups";        // row of the scalars, for each weight
constexpr char kAveragedAttribute[] = "averaged";    // whether there are averages
constexpr char kNormTarget[] = "tfopt_global_norm";
constexpr char kProductsTarget[] = "tfopt_row_products";
constexpr char kCombinationTarget[] = "tfopt_row_combination";
constexpr char kNormalizeTarget[] = "tfopt_normalize";
constexpr char kNormalizeBackwardTarget[] = "tfopt_normalize_backward";
constexpr char kRunAttribute[] = "run";              // elements in a row that share a parameter
constexpr char kEpsilonAttribute[] = "epsilon";

// Whether XLA has the kernels as the targets of such calls.
bool can_call();

}  // namespace tfopt
