// The custom call by which a compiled program reaches the kernels: its name and attributes.
#pragma once

namespace tfopt {

constexpr char kTarget[] = "tfopt_fused_update";
constexpr char kRuleAttribute[] = "rule";      // a name
constexpr char kGroupsAttribute[] = "groups";  // row of the scalars, for each weight

// Whether XLA has the kernels as the target of such calls.
bool can_call();

}  // namespace tfopt
