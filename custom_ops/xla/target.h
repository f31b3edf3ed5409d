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

// Whether XLA has the kernels as the targets of such calls.
bool can_call();

}  // namespace tfopt
