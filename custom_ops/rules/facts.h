// What is known of each rule without its arithmetic, in the order of the index.
#pragma once
#include <string.h>

#include "custom_ops/rules/rules.h"

namespace tfopt {

struct RuleFacts {
  const char* name;
  const char* slot_names;    // comma-separated, in order
  const char* scalar_names;  // comma-separated, in order
  int slots;
  int scalars;
  bool looks_ahead;
};

inline const RuleFacts kRuleFacts[] = {
#define TFOPT_RULE(name, Struct)                                                         \
  {#name,           Struct::slot_names(), Struct::scalar_names(), Struct::kSlots,        \
   Struct::kScalars, Struct::kLooksAhead},
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
};

// Null where there is no rule of that name.
inline const RuleFacts* find_facts(const char* name) {
  for (const RuleFacts& one : kRuleFacts)
    if (!strcmp(one.name, name)) return &one;
  return nullptr;
}

}  // namespace tfopt
